package libp2p

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
)

func TestContractIsKept(t *testing.T) {
	const nodes = 3
	var keys, addrs []string
	for i := range nodes {
		keys = append(keys, fmt.Sprintf("%064x", i+1))
		key, err := parseKey("key", keys[i])
		if err != nil {
			t.Fatal(err)
		}
		id, err := peer.IDFromPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, fmt.Sprintf("/ip4/127.0.0.1/tcp/$PORT%d/p2p/%s", i, id))
	}
	var configs []string
	for i := range nodes {
		config, err := json.Marshal(settings{
			"key": keys[i], "listen": []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/$PORT%d", i)}, "peers": addrs,
		})
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, string(config))
	}
	transporttest.Run(t, transporttest.Target{
		New:     func(int) (transport.Transport, error) { return New(), nil },
		Configs: configs,
	})
}
