package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/spf13/cobra"

	"github.com/stratanode/strata/actors/edge/rpc"
	"github.com/stratanode/strata/layers/transport"
)

func newShhCommand(at socketOf) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shh",
		Short: "Post and read bare Whisper messages through the shh API",
		Long: `Shh is for messages below the chat: no ratchet, no acknowledgement, no history. It uses
the API that clients written for go-ethereum use (shh_post, shh_subscribe).`,
		RunE: group,
	}
	cmd.AddCommand(newShhPostCommand(at), newShhSubscribeCommand(at))
	return cmd
}

// secrecy says by what key a bare message is encrypted. A password is never on
// the command line, where others can read it.
type secrecy struct {
	channel      string // topic and key both follow from its name
	topic        string
	passwordFile string
	to           string // the public key of the receiver
}

func (s *secrecy) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.channel, "channel", "", "a public chat: its name gives topic and key")
	cmd.Flags().StringVar(&s.topic, "topic", "", "topic, 4 bytes in hex")
	cmd.Flags().StringVar(&s.passwordFile, "password-file", "", "file with the password that gives the key")
}

// key has the node make the symmetric key, and returns its id and the topic.
func (s *secrecy) key(ctx context.Context, c *rpc.Client) (id, topic string, err error) {
	password := ""
	switch {
	case s.channel != "" && s.topic == "" && s.passwordFile == "":
		if password, err = channelOf(s.channel); err != nil {
			return "", "", err
		}
		topic = "0x" + transport.TopicOf(password).String()
	case s.channel == "" && s.topic != "" && s.passwordFile != "":
		b, err := os.ReadFile(s.passwordFile)
		if err != nil {
			return "", "", misused(fmt.Errorf("--password-file: %w", err))
		}
		password, topic = strings.TrimRight(string(b), "\r\n"), s.topic
	default:
		return "", "", misused(errors.New("want --channel, or --topic and --password-file"))
	}
	err = c.Raw().CallContext(ctx, &id, "shh_generateSymKeyFromPassword", password)
	return id, topic, err
}

// posting is what the flags of shh post say.
type posting struct {
	secrecy
	signed  bool
	ttl     time.Duration
	pow     float64
	powTime time.Duration
	asJSON  bool
}

func newShhPostCommand(at socketOf) *cobra.Command {
	var p posting
	cmd := &cobra.Command{
		Use:   "post (--channel NAME | --to KEY | --topic T --password-file F) [TEXT...]",
		Short: "Post one bare Whisper message",
		Long: `Post encrypts TEXT, or standard input, does the proof of work and hands the envelope to
the transport. It prints the hash of the envelope; see "strata explain".`,
		Example: `  strata shh post --channel test hello
  strata shh post --to 0x04ab… --topic 0x5a5a5a5a --sign "only you can read this"`,
		Args: cobra.ArbitraryArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, args []string) error {
			text, err := textOf(args, cmd.InOrStdin())
			if err != nil {
				return err
			}
			hash, err := p.run(ctx, c, text)
			if err != nil {
				return err
			}
			if p.asJSON {
				return printJSON(cmd.OutOrStdout(), map[string]string{"hash": hash})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		}),
	}
	p.flags(cmd)
	cmd.Flags().StringVar(&p.to, "to", "", "public key of the receiver, instead of a symmetric key")
	cmd.Flags().BoolVar(&p.signed, "sign", false, "sign with a new key")
	cmd.Flags().DurationVar(&p.ttl, "ttl", 15*time.Second, "how long the envelope is to live")
	cmd.Flags().Float64Var(&p.pow, "pow", 0.002, "proof of work per byte and second")
	cmd.Flags().DurationVar(&p.powTime, "pow-time", 5*time.Second, "after how long the proof of work is given up")
	jsonFlag(cmd, &p.asJSON, "one JSON object: hash")
	return cmd
}

// newMessage is the argument of shh_post.
type newMessage struct {
	SymKeyID  string        `json:"symKeyID,omitempty"`
	PublicKey string        `json:"pubKey,omitempty"`
	Sig       string        `json:"sig,omitempty"`
	TTL       uint32        `json:"ttl"`
	Topic     string        `json:"topic,omitempty"`
	Payload   hexutil.Bytes `json:"payload"`
	PowTime   uint32        `json:"powTime"`
	PowTarget float64       `json:"powTarget"`
}

func (p *posting) run(ctx context.Context, c *rpc.Client, text string) (hash string, err error) {
	m := newMessage{
		TTL: uint32(p.ttl / time.Second), Payload: []byte(text),
		PowTime: uint32(p.powTime / time.Second), PowTarget: p.pow,
	}
	switch {
	case p.to != "" && p.channel == "" && p.passwordFile == "":
		key, err := keyOf("--to", p.to)
		if err != nil {
			return "", err
		}
		m.PublicKey, m.Topic = key.String(), p.topic
	case p.to != "":
		return "", misused(errors.New("--to stands alone or with --topic"))
	default:
		if m.SymKeyID, m.Topic, err = p.key(ctx, c); err != nil {
			return "", err
		}
		defer c.Raw().CallContext(context.WithoutCancel(ctx), nil, "shh_deleteSymKey", m.SymKeyID)
	}
	if p.signed {
		if err := c.Raw().CallContext(ctx, &m.Sig, "shh_newKeyPair"); err != nil {
			return "", err
		}
		defer c.Raw().CallContext(context.WithoutCancel(ctx), nil, "shh_deleteKeyPair", m.Sig)
	}
	err = c.Raw().CallContext(ctx, &hash, "shh_post", m)
	return hash, err
}

func newShhSubscribeCommand(at socketOf) *cobra.Command {
	var (
		s      secrecy
		count  int
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "subscribe (--channel NAME | --topic T --password-file F)",
		Short: "Print bare Whisper messages as they arrive",
		Long: `Subscribe prints one line for each message of the topic that the key opens, until it is
interrupted. Payloads that are no text are shown with escapes.`,
		Example: "  strata shh subscribe --channel test\n  strata shh subscribe --channel test --json --count 1",
		Args:    noArgs,
		RunE: withNode(at, func(ctx context.Context, c *rpc.Client, cmd *cobra.Command, _ []string) error {
			id, topic, err := s.key(ctx, c)
			if err != nil {
				return err
			}
			in := make(chan json.RawMessage, 16)
			sub, err := c.Raw().Subscribe(ctx, "shh", in, "messages", map[string]any{
				"symKeyID": id, "topics": []string{topic}, "allowP2P": true,
			})
			if err != nil {
				return err
			}
			defer sub.Unsubscribe()
			for n := 0; count == 0 || n < count; n++ {
				select {
				case m := <-in:
					if err := printBare(cmd, m, asJSON); err != nil {
						return err
					}
				case err := <-sub.Err():
					return errors.Join(errors.New("the node has ended the subscription"), err)
				case <-ctx.Done():
					return nil
				}
			}
			return nil
		}),
	}
	s.flags(cmd)
	cmd.Flags().IntVar(&count, "count", 0, "end after this many messages; 0 never ends")
	jsonFlag(cmd, &asJSON, "one JSON object for each message, as the API has it")
	return cmd
}

// printBare prints one message of the shh API.
func printBare(cmd *cobra.Command, raw json.RawMessage, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), raw)
	}
	var m struct {
		Sig       string        `json:"sig"`
		Timestamp int64         `json:"timestamp"`
		Payload   hexutil.Bytes `json:"payload"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("message: %w", err)
	}
	signer := "unsigned"
	if m.Sig != "" {
		signer = short(m.Sig)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s  %s  %s\n", localTime(time.Unix(m.Timestamp, 0)), signer, printable(string(m.Payload)))
	return err
}
