package libp2p

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const gatewayDevice = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"

// description is the least a gateway says of itself (UPnP Device Architecture
// 1.1, §2.3).
const description = `<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><specVersion><major>1</major><minor>0</minor></specVersion>
<device><deviceType>` + gatewayDevice + `</deviceType><UDN>uuid:gateway</UDN><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId>
<SCPDURL>/scpd.xml</SCPDURL><controlURL>/control</controlURL><eventSubURL>/event</eventSubURL>
</service></serviceList></device></root>`

// upnpAction is a call of WANIPConnection:1.
type upnpAction struct {
	Body struct {
		Action struct {
			XMLName  xml.Name
			Outside  uint16 `xml:"NewExternalPort"`
			Inside   uint16 `xml:"NewInternalPort"`
			Client   string `xml:"NewInternalClient"`
			Protocol string `xml:"NewProtocol"`
			Seconds  int    `xml:"NewLeaseDuration"`
		} `xml:",any"`
	} `xml:"Body"`
}

// speakUPnP answers a search and the calls that follow.
func (g *gateway) speakUPnP(t *testing.T) {
	t.Helper()
	l, err := net.Listen("tcp4", gatewayAddr.String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /root.xml", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, description) })
	mux.HandleFunc("POST /control", g.control)
	s := httptest.NewUnstartedServer(mux)
	s.Listener.Close()
	s.Listener = l
	s.Config.SetKeepAlivesEnabled(false)
	s.Start()
	loopback, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	search, err := net.ListenMulticastUDP("udp4", loopback, &net.UDPAddr{IP: net.IPv4(239, 255, 255, 250), Port: 1900})
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { answerSearch(search, s.URL+"/root.xml") })
	t.Cleanup(func() {
		search.Close()
		work.Wait()
		s.Close()
	})
}

func answerSearch(c *net.UDPConn, location string) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFromUDP(buf)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(buf[:n], []byte("M-SEARCH ")) {
			continue
		}
		answer := "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nEXT:\r\nLOCATION: " + location +
			"\r\nST: " + gatewayDevice + "\r\nUSN: uuid:gateway::" + gatewayDevice + "\r\n\r\n"
		if _, err := c.WriteToUDP([]byte(answer), from); err != nil {
			return
		}
	}
}

// control answers a SOAP call.
func (g *gateway) control(w http.ResponseWriter, r *http.Request) {
	var call upnpAction
	if err := xml.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a, values := call.Body.Action, ""
	switch a.XMLName.Local {
	case "GetNATRSIPStatus":
		values = "<NewRSIPAvailable>0</NewRSIPAvailable><NewNATEnabled>1</NewNATEnabled>"
	case "GetExternalIPAddress":
		values = "<NewExternalIPAddress>" + outsideAddr.String() + "</NewExternalIPAddress>"
	case "AddPortMapping":
		g.grant(strings.ToLower(a.Protocol), mapping{a.Inside, time.Duration(a.Seconds) * time.Second})
	case "DeletePortMapping":
		g.grant(strings.ToLower(a.Protocol), mapping{})
	default:
		http.Error(w, "no such action", http.StatusInternalServerError)
		return
	}
	fmt.Fprintf(w, `<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:%sResponse xmlns:u="%s">%s</u:%sResponse></s:Body></s:Envelope>`,
		a.XMLName.Local, a.XMLName.Space, values, a.XMLName.Local)
}

func TestRouterOpensPortsByUPnP(t *testing.T) {
	isolated(t, func(t *testing.T) {
		g := openGateway(t, (*gateway).speakUPnP)
		n := start(t, settings{"listen": everywhere, "nat": settings{"port_map": true}})
		// The port outside is the library's choice, so the node tells of one at the
		// router's address that is none of its own.
		until(t, "mapped addresses", func() bool {
			list := n.Addrs()
			for _, proto := range []string{"tcp", "udp"} {
				m, ok := g.last(proto)
				own, prefix := fmt.Sprintf("/%s/%d/", proto, m.inside), fmt.Sprintf("/ip4/%s/%s/", outsideAddr, proto)
				if !ok || !slices.ContainsFunc(list, func(a string) bool { return strings.HasPrefix(a, prefix) && !strings.Contains(a, own) }) {
					return false
				}
			}
			return true
		})
		// The library does not always give a port back, so it must be a lease.
		for _, proto := range []string{"tcp", "udp"} {
			if m, _ := g.last(proto); m.lifetime <= 0 || m.lifetime > pmpLifetime {
				t.Errorf("%s: asked for %v, want a lease of at most %v", proto, m.lifetime, pmpLifetime)
			}
		}
		n.stop(t)
		awaitSearch(t)
	})
}
