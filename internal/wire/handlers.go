package wire

import (
	"runtime"
	"sync"
)

// handlersPerCore is how many messages are decoded and handled at the same time, for each core: more
// would only wait for the same locks, with all that was decoded in memory.
const handlersPerCore = 8

// handlers are goroutines that decode and handle the messages of all peers. A peer's own goroutine only
// waits for its connection, so that its stack stays small: of thousands of workers most are idle.
type handlers struct {
	messages chan delivery

	mu      sync.Mutex
	peers   int
	running int
}

// delivery is a message of a peer; that of none ends a handler.
type delivery struct {
	peer *peer
	data []byte
}

func newHandlers() *handlers { return &handlers{messages: make(chan delivery)} }

// enter makes room for the messages of one more peer.
func (h *handlers) enter() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.peers++
	if h.running < min(h.peers, handlersPerCore*runtime.GOMAXPROCS(0)) {
		h.running++
		go h.run()
	}
}

// leave takes it back. There are no handlers without peers.
func (h *handlers) leave() {
	h.mu.Lock()
	h.peers--
	surplus := h.running > h.peers
	if surplus {
		h.running--
	}
	h.mu.Unlock()
	if surplus {
		h.messages <- delivery{}
	}
}

// handle returns when the message was handled.
func (h *handlers) handle(p *peer, data []byte) {
	h.messages <- delivery{p, data}
	<-p.handled
}

func (h *handlers) run() {
	for m := range h.messages {
		if m.peer == nil {
			return
		}
		m.peer.message(m.data)
		m.peer.handled <- struct{}{}
	}
}
