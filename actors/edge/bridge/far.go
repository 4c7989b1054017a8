package bridge

import (
	"github.com/stratanode/strata/actors"
	"github.com/stratanode/strata/layers/transport"
)

// Far is an event of the far transport. It has a type of its own because a Top
// tells the slots it stands on apart by the types of their events.
type Far struct{ Event transport.Event }

// FarSlot is where the far transport stands.
const FarSlot = actors.Slot[transport.Command, Far]("far")

// Up takes the events of an edge that fills an ordinary transport slot to those
// who stand on the far one. It is safe for concurrent use.
type Up struct{ out actors.Outlet[Far] }

// FarUp returns the Up of an outlet of the far slot.
func FarUp(out actors.Outlet[Far]) Up { return Up{out} }

// Send reports an event that needs no credit; see actors.Outlet.
func (u Up) Send(e transport.Event) { u.out.Send(Far{e}) }

// SendCredited reports an input from outside; see actors.Outlet.
func (u Up) SendCredited(e transport.Event, c *actors.Credit) { u.out.SendCredited(Far{e}, c) }

// Fail says that the edge is broken; see actors.Outlet.
func (u Up) Fail(err error) { u.out.Fail(err) }
