package stats

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"time"
)

// The histogram counts in units of 128 ns. Below 128 units a bucket is one unit wide; above, every
// power of two is cut into 64 buckets, so that the middle of a bucket is at most 1/128 away from any
// value in it. The last bucket ends above one hour.
const (
	unitBits   = 7
	subBits    = 6
	blockSize  = 1 << subBits
	blockCount = 30
	maxUnits   = 1<<(blockCount+subBits-1) - 1
)

// MaxDuration is the largest duration that keeps its place in a histogram; longer ones are counted
// in the last bucket (their maximum and sum stay exact).
const MaxDuration = time.Duration(maxUnits+1)<<unitBits - 1

// Histogram counts durations. Quantiles between 10 µs and one hour have a relative error of at most
// 1 %, however often histograms were merged; count, sum, minimum and maximum are exact. The zero
// value is an empty histogram. It is not safe for concurrent use.
type Histogram struct {
	count    uint64
	sum      int64
	min, max int64
	blocks   [blockCount]*[blockSize]uint64
	// sparse holds the buckets in place of blocks, in ascending order, after decoding a few: most of what
	// is decoded is merged once and forgotten. No block is there while it holds something.
	sparse []bucketCount
}

type bucketCount struct {
	index uint
	n     uint64
}

// maxSparse is the longest encoding, in bytes, whose buckets are kept in a list.
const maxSparse = 1024

// Record counts one duration; a negative one counts as zero.
func (h *Histogram) Record(d time.Duration) {
	v := max(int64(d), 0)
	h.record(v, bucketOf(v))
}

// RecordN counts the same duration n times; n below 1 counts nothing.
func (h *Histogram) RecordN(d time.Duration, n int64) {
	if n < 1 {
		return
	}
	v := max(int64(d), 0)
	if h.count == 0 {
		h.min, h.max = v, v
	} else {
		h.min, h.max = min(h.min, v), max(h.max, v)
	}
	h.count += uint64(n)
	h.sum = addBounded(h.sum, v, n)
	index := bucketOf(v)
	block := h.blocks[index>>subBits]
	if block == nil {
		block = h.addBlock(index)
	}
	block[index&(blockSize-1)] += uint64(n)
}

// addBounded returns sum + v·n, or the largest number if that is too large.
func addBounded(sum, v, n int64) int64 {
	high, low := bits.Mul64(uint64(v), uint64(n))
	if high != 0 || low > uint64(math.MaxInt64-sum) {
		return math.MaxInt64
	}
	return sum + int64(low)
}

// Correct replaces sum, minimum and maximum by what is known better than from the durations that were
// recorded, which may have been rounded. It does nothing to an empty histogram.
func (h *Histogram) Correct(sum, low, high time.Duration) {
	if h.count > 0 {
		h.sum, h.min = max(int64(sum), 0), max(int64(low), 0)
		h.max = max(int64(high), h.min)
	}
}

// record counts a value whose bucket is known, so that several histograms can share finding it.
func (h *Histogram) record(v int64, index uint) {
	if h.count == 0 {
		h.min, h.max = v, v
	} else if v < h.min {
		h.min = v
	} else if v > h.max {
		h.max = v
	}
	h.count++
	h.sum += v
	block := h.blocks[index>>subBits]
	if block == nil {
		block = h.addBlock(index)
	}
	block[index&(blockSize-1)]++
}

// addBlock returns the block of a bucket whose block is not there.
func (h *Histogram) addBlock(index uint) *[blockSize]uint64 {
	h.addSparse(h.sparse)
	h.sparse = h.sparse[:0]
	return h.blockOf(index)
}

// blockOf returns the block of a bucket, a new one if it is not there.
func (h *Histogram) blockOf(index uint) *[blockSize]uint64 {
	block := h.blocks[index>>subBits]
	if block == nil {
		block = new([blockSize]uint64)
		h.blocks[index>>subBits] = block
	}
	return block
}

// addSparse adds buckets to the blocks.
func (h *Histogram) addSparse(list []bucketCount) {
	for _, b := range list {
		h.blockOf(b.index)[b.index&(blockSize-1)] += b.n
	}
}

func bucketOf(v int64) uint {
	units := uint64(v) >> unitBits
	if units < 2*blockSize {
		return uint(units)
	}
	units = min(units, maxUnits)
	shift := uint(bits.Len64(units)) - subBits - 1
	return shift<<subBits + uint(units>>shift)
}

// middleOf returns the middle of a bucket in nanoseconds.
func middleOf(index uint) int64 {
	if index < 2*blockSize {
		return int64(index)<<unitBits + 1<<(unitBits-1)
	}
	shift := index>>subBits - 1
	low := int64(index-shift<<subBits) << shift
	return low<<unitBits + 1<<(shift+unitBits-1)
}

// Count returns the number of durations.
func (h *Histogram) Count() int64 { return int64(h.count) }

// Sum returns the sum of all durations.
func (h *Histogram) Sum() time.Duration { return time.Duration(h.sum) }

// Min returns the smallest duration, 0 when there is none.
func (h *Histogram) Min() time.Duration { return time.Duration(h.min) }

// Max returns the largest duration, 0 when there is none.
func (h *Histogram) Max() time.Duration { return time.Duration(h.max) }

// Mean returns the average, 0 when there is none.
func (h *Histogram) Mean() time.Duration {
	if h.count == 0 {
		return 0
	}
	return time.Duration(float64(h.sum) / float64(h.count))
}

// Quantile returns the smallest duration that at least the share q of all durations do not exceed,
// q from 0 to 1. It is 0 for an empty histogram.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.count == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(h.count)))
	switch {
	case q <= 0 || rank <= 1 && h.count == 1:
		return time.Duration(h.min)
	case rank >= h.count:
		return time.Duration(h.max)
	}
	var seen uint64
	for index, n := range h.buckets {
		seen += n
		if seen >= max(rank, 1) {
			return time.Duration(min(max(middleOf(index), h.min), h.max))
		}
	}
	return time.Duration(h.max)
}

// buckets yields the buckets that hold something, in ascending order.
func (h *Histogram) buckets(yield func(index uint, n uint64) bool) {
	for _, b := range h.sparse {
		if !yield(b.index, b.n) {
			return
		}
	}
	if len(h.sparse) > 0 {
		return
	}
	for b, block := range h.blocks {
		if block == nil {
			continue
		}
		for i, n := range block {
			if n != 0 && !yield(uint(b<<subBits+i), n) {
				return
			}
		}
	}
}

// Buckets yields the middle of every bucket that holds something and its count, in ascending order.
func (h *Histogram) Buckets(yield func(middle time.Duration, n int64) bool) {
	h.buckets(func(index uint, n uint64) bool {
		return yield(time.Duration(min(max(middleOf(index), h.min), h.max)), int64(n))
	})
}

// Merge adds what other holds; other is not changed.
func (h *Histogram) Merge(other *Histogram) {
	if other.count == 0 {
		return
	}
	if h.count == 0 {
		h.min, h.max = other.min, other.max
	} else {
		h.min, h.max = min(h.min, other.min), max(h.max, other.max)
	}
	h.count += other.count
	h.sum += other.sum
	if len(h.sparse) > 0 {
		h.addSparse(h.sparse)
		h.sparse = h.sparse[:0]
	}
	if len(other.sparse) > 0 {
		h.addSparse(other.sparse)
		return
	}
	for b, theirs := range &other.blocks {
		if theirs == nil {
			continue
		}
		ours := h.blocks[b]
		if ours == nil {
			clone := *theirs
			h.blocks[b] = &clone
			continue
		}
		for i := range theirs {
			ours[i] += theirs[i]
		}
	}
}

// Clone returns a copy that shares nothing with h.
func (h *Histogram) Clone() *Histogram {
	clone := new(Histogram)
	clone.Merge(h)
	return clone
}

// Since returns what was recorded after earlier, a previous state of the same histogram. The minimum
// and maximum of the difference are exact where they are new to h, otherwise those of its buckets:
// merging all differences gives the minimum and maximum of h.
func (h *Histogram) Since(earlier *Histogram) *Histogram {
	difference := new(Histogram)
	if earlier == nil {
		difference.Merge(h)
		return difference
	}
	if len(earlier.sparse) > 0 {
		earlier = earlier.Clone() // in blocks
	}
	difference.sum = h.sum - earlier.sum
	for index, n := range h.buckets {
		if before := earlier.blocks[index>>subBits]; before != nil {
			n -= min(n, before[index&(blockSize-1)])
		}
		if n == 0 {
			continue
		}
		middle := min(max(middleOf(index), h.min), h.max)
		if difference.count == 0 {
			difference.min = middle
		}
		difference.max = middle
		difference.count += n
		if difference.blocks[index>>subBits] == nil {
			difference.blocks[index>>subBits] = new([blockSize]uint64)
		}
		difference.blocks[index>>subBits][index&(blockSize-1)] = n
	}
	if difference.count > 0 {
		if earlier.count == 0 || h.min < earlier.min {
			difference.min = h.min
		}
		if earlier.count == 0 || h.max > earlier.max {
			difference.max = h.max
		}
	}
	return difference
}

// Reset forgets everything and keeps the memory for what comes.
func (h *Histogram) Reset() {
	h.count, h.sum, h.min, h.max = 0, 0, 0, 0
	h.sparse = h.sparse[:0]
	for _, block := range h.blocks {
		if block != nil {
			clear(block[:])
		}
	}
}

// encodingVersion leads an encoded histogram.
const encodingVersion = 1

// ErrBadHistogram is returned for bytes that are no histogram.
var ErrBadHistogram = errors.New("stats: not an encoded histogram")

// AppendBinary appends a compact form: count, sum, minimum, maximum, then each bucket that holds
// something as the distance from the one before and its count, all as variable-length integers.
func (h *Histogram) AppendBinary(b []byte) ([]byte, error) {
	b = append(b, encodingVersion)
	b = binary.AppendUvarint(b, h.count)
	b = binary.AppendUvarint(b, uint64(h.sum))
	b = binary.AppendUvarint(b, uint64(h.min))
	b = binary.AppendUvarint(b, uint64(h.max))
	last := uint(0)
	for index, n := range h.buckets {
		b = binary.AppendUvarint(b, uint64(index-last))
		b = binary.AppendUvarint(b, n)
		last = index
	}
	return b, nil
}

// MarshalBinary returns the compact form.
func (h *Histogram) MarshalBinary() ([]byte, error) { return h.AppendBinary(nil) }

// MarshalText returns the compact form in base64, which is also the histogram's form in JSON.
func (h *Histogram) MarshalText() ([]byte, error) {
	b, err := h.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText is UnmarshalBinary for what MarshalText encoded.
func (h *Histogram) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		h.Reset()
		return ErrBadHistogram
	}
	return h.UnmarshalBinary(b)
}

// UnmarshalBinary replaces h by what MarshalBinary encoded, in the memory that h has; an error leaves
// it empty. Memory is bounded whatever the input.
func (h *Histogram) UnmarshalBinary(data []byte) error {
	h.Reset()
	if err := h.decode(data); err != nil {
		h.Reset()
		return err
	}
	return nil
}

func (h *Histogram) decode(data []byte) error {
	if len(data) == 0 || data[0] != encodingVersion {
		return ErrBadHistogram
	}
	data = data[1:]
	var header [4]uint64
	for i := range header {
		var err error
		if header[i], data, err = uvarint(data); err != nil {
			return err
		}
	}
	if header[1] > math.MaxInt64 || header[2] > header[3] || header[3] > math.MaxInt64 {
		return fmt.Errorf("%w: impossible sum, minimum or maximum", ErrBadHistogram)
	}
	h.count, h.sum, h.min, h.max = header[0], int64(header[1]), int64(header[2]), int64(header[3])
	if len(data) <= maxSparse {
		clear(h.blocks[:])
	}
	if err := h.decodeBuckets(data); err != nil {
		return err
	}
	if h.count == 0 && header != [4]uint64{} {
		return fmt.Errorf("%w: values without a count", ErrBadHistogram)
	}
	return nil
}

func (h *Histogram) decodeBuckets(data []byte) error {
	sparse := len(data) <= maxSparse
	var total, index uint64
	for first := true; len(data) > 0; first = false {
		var distance, n uint64
		if len(data) >= 2 && data[0] < 0x80 && data[1] < 0x80 { // as most are
			distance, n, data = uint64(data[0]), uint64(data[1]), data[2:]
		} else {
			var err error
			if distance, data, err = uvarint(data); err != nil {
				return err
			}
			if n, data, err = uvarint(data); err != nil {
				return err
			}
		}
		if distance == 0 && !first || distance >= blockCount*blockSize || n == 0 || n > h.count-total {
			return fmt.Errorf("%w: impossible bucket", ErrBadHistogram)
		}
		index += distance
		total += n
		if index >= blockCount*blockSize {
			return fmt.Errorf("%w: bucket out of range", ErrBadHistogram)
		}
		if sparse {
			h.sparse = append(h.sparse, bucketCount{uint(index), n})
		} else {
			h.blockOf(uint(index))[index&(blockSize-1)] = n
		}
	}
	if total != h.count {
		return fmt.Errorf("%w: %d values in buckets, %d counted", ErrBadHistogram, total, h.count)
	}
	return nil
}

func uvarint(data []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(data)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: truncated", ErrBadHistogram)
	}
	return v, data[n:], nil
}
