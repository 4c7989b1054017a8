package kernel

// worker is the dispatcher of one child: a goroutine of its own, which stays. A
// new goroutine for every burst of messages, as protoactor has it, would grow
// its stack each time, which takes longer than the message.
//
// It begins when all children exist: protoactor enters an actor under its name
// before its mailbox is complete, so a child that began at once could send to a
// neighbour that is still being made.
//
// A mailbox schedules itself once and not again before that was run, so a place
// for one function is enough, and one that comes after the end blocks nobody.
type worker chan func()

func newWorker(begin <-chan struct{}) worker {
	w := make(worker, 1)
	go func() {
		<-begin
		for f := range w {
			if f == nil {
				return
			}
			f()
		}
	}()
	return w
}

// end stops the worker of a child that has stopped.
func (w worker) end() { w <- nil }

// Schedule implements actor.Dispatcher.
func (w worker) Schedule(f func()) { w <- f }

// Throughput implements actor.Dispatcher: after how many messages a child lets
// others have the processor.
func (worker) Throughput() int { return 300 }
