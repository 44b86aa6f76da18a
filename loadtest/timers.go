package loadtest

// timerEntry is a user and when it is due, in nanoseconds on the swarm's clock.
type timerEntry struct {
	due  int64
	user *User
}

// timerHeap is a heap with four children a node: shallow, and its nodes lie together in memory.
type timerHeap []timerEntry

const heapArity = 4

// push adds an entry and reports whether it is the first one now.
func (h *timerHeap) push(entry timerEntry) bool {
	*h = append(*h, entry)
	heap := *h
	i := len(heap) - 1
	for i > 0 {
		parent := (i - 1) / heapArity
		if heap[parent].due <= entry.due {
			break
		}
		heap[i] = heap[parent]
		i = parent
	}
	heap[i] = entry
	return i == 0
}

// pop removes the first entry of a heap that is not empty.
func (h *timerHeap) pop() timerEntry {
	heap := *h
	first, last := heap[0], heap[len(heap)-1]
	heap[len(heap)-1] = timerEntry{}
	heap = heap[:len(heap)-1]
	*h = heap
	if len(heap) == 0 {
		return first
	}
	i := 0
	for {
		child := heap.smallestChild(i)
		if child < 0 || heap[child].due >= last.due {
			break
		}
		heap[i] = heap[child]
		i = child
	}
	heap[i] = last
	return first
}

// smallestChild returns the index of the child that is due first, -1 when there is none.
func (h timerHeap) smallestChild(i int) int {
	first := i*heapArity + 1
	if first >= len(h) {
		return -1
	}
	smallest := first
	for child := first + 1; child < min(first+heapArity, len(h)); child++ {
		if h[child].due < h[smallest].due {
			smallest = child
		}
	}
	return smallest
}
