package logstore

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
)

// Every file of the log begins with an envelope:
//
//	 0  8   magic, which names the kind of file
//	 8  u32 format version
//	12  u32 bytes of payload
//	16  16  cluster id
//	32      payload
//	..  u32 CRC32C of everything before it
const (
	envelopeHeaderBytes = 32
	envelopeBytes       = envelopeHeaderBytes + 4 // around the payload

	// formatVersion is the only version that there is.
	formatVersion = 1
)

const (
	magicSegment = "SPOORLOG"
	magicMeta    = "SPOORMET"
	magicMark    = "SPOORMRK"
	magicVote    = "SPOORVOT"
)

// ClusterID tells the logs of different clusters apart, so that a file that was
// copied to the wrong place is noticed.
type ClusterID [16]byte

func (c ClusterID) String() string { return hex.EncodeToString(c[:]) }

var (
	errEnvelope = errors.New("its header is damaged or missing")
	errVersion  = errors.New("unknown format version")
	errCluster  = errors.New("it belongs to another cluster")
)

func appendEnvelope(dst []byte, magic string, cluster ClusterID, payload []byte) []byte {
	at := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, formatVersion)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, cluster[:]...)
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli))
}

// openEnvelope returns the payload at the beginning of b. A file of another
// version whose checksum is right is errVersion, not damage.
func openEnvelope(b []byte, magic string) (ClusterID, []byte, error) {
	var cluster ClusterID
	if len(b) < envelopeBytes || !bytes.HasPrefix(b, []byte(magic)) {
		return cluster, nil, errEnvelope
	}
	n := binary.LittleEndian.Uint32(b[12:])
	if uint64(n) > uint64(len(b)-envelopeBytes) {
		return cluster, nil, errEnvelope
	}
	end := envelopeHeaderBytes + int(n)
	if crc32.Checksum(b[:end], castagnoli) != binary.LittleEndian.Uint32(b[end:]) {
		return cluster, nil, errEnvelope
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return cluster, nil, fmt.Errorf("%w %d, this program knows %d; it was written by a newer one", errVersion, v, formatVersion)
	}
	copy(cluster[:], b[16:])
	return cluster, b[envelopeHeaderBytes:end], nil
}
