package collect

import "time"

// randomBuffer is how many random bytes are drawn at once; each id takes ten.
const randomBuffer = 640

// ids makes UUIDs of version 7: 48 bits of milliseconds, then random bits. Ids
// of one builder made in one millisecond are in no order.
type ids struct {
	now    func() time.Time
	random func([]byte)
	buf    [randomBuffer]byte
	left   int  // unused bytes at the end of buf
	made   uint // ids so far
}

func (x *ids) next() (id [16]byte) {
	if x.left < 10 {
		x.random(x.buf[:])
		x.left = len(x.buf)
	}
	ms := uint64(x.now().UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	copy(id[6:], x.buf[len(x.buf)-x.left:])
	x.left -= 10
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	x.made++
	return id
}
