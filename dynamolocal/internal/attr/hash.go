package attr

import "math/bits"

// mix folds the 128-bit product of a and b, which spreads every input bit.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xA0761D6478BD642F, b)
	return hi ^ lo
}
