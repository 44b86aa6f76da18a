package store

import (
	"slices"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// entry is a slot in the order of its collection.
type entry struct {
	rng  attr.Value // the RANGE value of the table or index; the zero Value where there is none
	slot *Slot
}

// compare orders entries by RANGE value, then by the slots' table keys.
func (e entry) compare(o entry) int {
	if e.rng.Exists() && o.rng.Exists() {
		if c := attr.Compare(e.rng, o.rng); c != 0 {
			return c
		}
	}
	if e.slot == o.slot {
		return 0
	}
	return e.slot.compareKeys(o.slot)
}

// maxBlock is the number of entries at which a block is cut in two.
const maxBlock = 256

// sorted is a list of entries in order, cut into blocks: finding is two binary searches, inserting
// moves at most one block. One item costs one block of one entry.
type sorted struct {
	blocks [][]entry
	count  int
	// only is the slot of a list of one, as most are: in a large table each step to it is a cache miss.
	only *Slot
}

// find returns the position of the first entry that is not below e, and whether it equals e.
func (s *sorted) find(e entry) (block, index int, found bool) {
	block, _ = slices.BinarySearchFunc(s.blocks, e, func(b []entry, e entry) int {
		return b[len(b)-1].compare(e)
	})
	if block == len(s.blocks) {
		return block, 0, false
	}
	index, found = slices.BinarySearchFunc(s.blocks[block], e, entry.compare)
	return block, index, found
}

func (s *sorted) insert(e entry) {
	s.count++
	if len(s.blocks) == 0 {
		s.blocks, s.only = [][]entry{{e}}, e.slot
		return
	}
	s.only = nil
	block, index, _ := s.find(e)
	if block == len(s.blocks) {
		block--
		index = len(s.blocks[block])
	}
	list := slices.Insert(s.blocks[block], index, e)
	s.blocks[block] = list
	if len(list) < maxBlock {
		return
	}
	// Keys that arrive in order fill the left block; otherwise both get half.
	cut := maxBlock / 2
	if index == len(list)-1 && block == len(s.blocks)-1 {
		cut = maxBlock - maxBlock/16
	}
	right := slices.Clone(list[cut:])
	s.blocks[block] = slices.Clip(slices.Clone(list[:cut]))
	s.blocks = slices.Insert(s.blocks, block+1, right)
}

func (s *sorted) remove(e entry) bool {
	block, index, found := s.find(e)
	if !found {
		return false
	}
	s.count--
	s.blocks[block] = slices.Delete(s.blocks[block], index, index+1)
	if len(s.blocks[block]) == 0 {
		s.blocks = slices.Delete(s.blocks, block, block+1)
	}
	s.only = nil
	if s.count == 1 {
		s.only = s.blocks[0][0].slot
	}
	return true
}

// ascend yields the entries that are not before the given position, in order.
func (s *sorted) ascend(block, index int, yield func(entry) bool) bool {
	for ; block < len(s.blocks); block++ {
		for ; index < len(s.blocks[block]); index++ {
			if !yield(s.blocks[block][index]) {
				return false
			}
		}
		index = 0
	}
	return true
}

// descend yields the entries before the given position, in reverse order.
func (s *sorted) descend(block, index int, yield func(entry) bool) bool {
	for {
		for index--; index >= 0; index-- {
			if !yield(s.blocks[block][index]) {
				return false
			}
		}
		block--
		if block < 0 {
			return true
		}
		index = len(s.blocks[block])
	}
}

// Slot is where an item lives; its keys never change.
type Slot struct {
	hash, rng attr.Value
	item      pointer
}

func (s *Slot) compareKeys(o *Slot) int {
	if c := attr.Compare(s.hash, o.hash); c != 0 {
		return c
	}
	if !s.rng.Exists() || !o.rng.Exists() {
		return 0
	}
	return attr.Compare(s.rng, o.rng)
}
