package udp_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/stratanode/strata/plugins/transport"
	"github.com/stratanode/strata/plugins/transport/transporttest"
	"github.com/stratanode/strata/plugins/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	transporttest.Run(t, transporttest.Target{
		New: func(int) (transport.Transport, error) { return udp.New(), nil },
	})
}
