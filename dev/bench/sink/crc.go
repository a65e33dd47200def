package main

// CRC-64/NVME, reflected.
const polynomial = 0x9a6c9329ac4bc9b5

// The checksum of a followed by the `length` bytes of b, from the checksums of both. The way of zlib's crc32_combine:
// the operator that appends a zero bit, squared again and again.
func combine(a, b uint64, length int64) uint64 {
	if length == 0 {
		return a
	}
	operator := [64]uint64{polynomial}
	for i := range 63 {
		operator[i+1] = 1 << i
	}
	// One bit, two, four; then bytes.
	for range 3 {
		operator = square(operator)
	}
	for ; length > 0; length >>= 1 {
		if length&1 == 1 {
			a = times(operator, a)
		}
		operator = square(operator)
	}
	return a ^ b
}

func times(operator [64]uint64, vector uint64) (product uint64) {
	for i := 0; vector != 0; i, vector = i+1, vector>>1 {
		if vector&1 == 1 {
			product ^= operator[i]
		}
	}
	return product
}

func square(operator [64]uint64) (squared [64]uint64) {
	for i, column := range operator {
		squared[i] = times(operator, column)
	}
	return squared
}
