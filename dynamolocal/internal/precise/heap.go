package precise

import "sync"

// wait is one caller inside Wait.
type wait struct {
	deadline int64
	index    int // place in the heap; -1: not in it
	due      chan struct{}
}

var waitPool = sync.Pool{New: func() any {
	return &wait{index: -1, due: make(chan struct{}, 1)}
}}

// heap orders waits by deadline, four children to a node: fewer levels than
// two, and a node's children lie in one cache line.
type heap []*wait

func (h *heap) push(w *wait) {
	w.index = len(*h)
	*h = append(*h, w)
	h.up(w.index)
}

func (h *heap) remove(w *wait) {
	i, last := w.index, len(*h)-1
	h.swap(i, last)
	(*h)[last] = nil
	*h = (*h)[:last]
	w.index = -1
	if i < last {
		h.down(i)
		h.up(i)
	}
}

func (h heap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h heap) up(i int) {
	for i > 0 {
		parent := (i - 1) / 4
		if h[parent].deadline <= h[i].deadline {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h heap) down(i int) {
	for {
		first := 4*i + 1
		if first >= len(h) {
			return
		}
		least := first
		for child := first + 1; child < min(first+4, len(h)); child++ {
			if h[child].deadline < h[least].deadline {
				least = child
			}
		}
		if h[i].deadline <= h[least].deadline {
			return
		}
		h.swap(i, least)
		i = least
	}
}
