package bucket

import (
	"maps"
	"slices"
)

// Sibling is a shard of a quota as the plan of a grant sees it.
type Sibling struct {
	Shard  int64
	Tokens int64 // millitokens
	Grants int64 // grant count; at least 1
	// Current: its allowance is of the period that runs.
	Current bool
}

// Grant says what a new or seeded shard of a quota starts with.
type Grant struct {
	Tokens int64 // millitokens
	// Moved: Tokens are taken from shard Donor, whose grant count DonorGrants stays. Otherwise nobody
	// holds the share of this shard, and it is fresh.
	Moved       bool
	Donor       int64
	DonorGrants int64
}

// PlanGrant decides how shard of a bucket with more than one shard is funded. A sibling with grant
// count g holds the allowance of every shard that is equal to it modulo g; of those that hold this
// shard's, the one with the largest count, then the lowest number, gives what it has of share, which is
// the capacity in force divided by the shard count.
func PlanGrant(siblings []Sibling, shard, share int64) Grant {
	var donor *Sibling
	for i := range siblings {
		s := &siblings[i]
		if !s.Current || s.Shard == shard || s.Grants < 1 || s.Shard%s.Grants != shard%s.Grants {
			continue
		}
		if donor == nil || s.Grants > donor.Grants || s.Grants == donor.Grants && s.Shard < donor.Shard {
			donor = s
		}
	}
	if donor == nil {
		return Grant{Tokens: share}
	}
	return Grant{Tokens: max(0, min(share, donor.Tokens)), Moved: true, Donor: donor.Shard, DonorGrants: donor.Grants}
}

// InferGrants is the grant count of a shard that does not store one: the shard count, halved while it
// holds more than its part of capacity, which is the one in force.
func InferGrants(shards, tokens, capacity int64) int64 {
	for shards = max(1, shards); shards > 1 && tokens > capacity/shards; {
		shards /= 2
	}
	return shards
}

// SplitByWeight splits total by weights and gives the remainder to the lowest key: the top-up of a
// quota, whose shards weigh max(1, shard count / grant count).
func SplitByWeight(total int64, weights map[int64]int64) map[int64]int64 {
	sum, given := int64(0), int64(0)
	for _, w := range weights {
		sum += w
	}
	portions := make(map[int64]int64, len(weights))
	if sum <= 0 {
		return portions
	}
	for key, w := range weights {
		portions[key] = mulDiv(total, w, sum)
		given += portions[key]
	}
	portions[slices.Min(slices.Collect(maps.Keys(weights)))] += total - given
	return portions
}

// SplitByRoom splits total in proportion to rooms and never beyond one, the remainder from the lowest
// key on: the top-up of a limit that drips, whose shards have room up to their ceilings.
func SplitByRoom(total int64, rooms map[int64]int64) map[int64]int64 {
	sum := int64(0)
	for _, room := range rooms {
		sum += room
	}
	portions := make(map[int64]int64, len(rooms))
	total = max(0, min(total, sum))
	left := total
	for key, room := range rooms {
		portions[key] = 0
		if total > 0 {
			portions[key] = mulDiv(total, room, sum)
		}
		left -= portions[key]
	}
	for _, key := range slices.Sorted(maps.Keys(rooms)) {
		more := min(left, rooms[key]-portions[key])
		portions[key] += more
		left -= more
	}
	return portions
}
