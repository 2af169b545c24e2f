package peer

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

// Protocol is the version of what nodes say on a connection: of the hello, and of
// what follows it.
const Protocol = 1

// A connection begins with a hello of the node that dials, answered by one of the
// node that was dialled. Nothing else is sent before both are known to agree.
//
//	0  8   magic "SPOORPER"
//	8  u32 bytes of payload, little endian
//	12     payload: JSON of a hello; members that are not known are passed over
//	.. u32 CRC32C of everything before it
const (
	magic            = "SPOORPER"
	helloHeaderBytes = len(magic) + 4
	maxHelloBytes    = 4 << 10 // of payload
)

// MaxNodeIDBytes bounds the id of a node.
const MaxNodeIDBytes = 63

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Purposes of a connection.
const (
	purposeRaft = "raft"
	purposeCall = "call"
)

// Range is a range of versions, both ends included.
type Range struct {
	Min uint32 `json:"min"`
	Max uint32 `json:"max"`
}

// Holds tells whether v lies in the range.
func (r Range) Holds(v uint32) bool { return r.Min <= v && v <= r.Max }

// Formats are the versions that a node understands.
type Formats struct {
	Commands Range `json:"commands"` // entries of the log
	Segments Range `json:"segments"` // files of the store
}

// hello is what either side says of itself.
type hello struct {
	Protocol int     `json:"protocol"`
	Cluster  string  `json:"cluster"` // 32 hexadecimal digits
	From     string  `json:"from"`    // node that says this
	To       string  `json:"to"`      // node that it takes the other for
	Purpose  string  `json:"purpose"`
	Formats  Formats `json:"formats"`
	// Refused says why there is no connection, in an answer alone; nil: there is one.
	Refused *Refusal `json:"refused,omitempty"`
}

// Refusal is why a node does not talk to another one.
type Refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (r *Refusal) Error() string { return r.Message }

// Codes of a Refusal.
const (
	RefusedProtocol    = "protocol"    // another version of this protocol
	RefusedCluster     = "cluster"     // another cluster
	RefusedNode        = "node"        // another node than the one that was wanted
	RefusedCertificate = "certificate" // the certificate names another node
	RefusedFull        = "full"        // more connections than the node keeps
)

var errHello = errors.New("what was sent is no hello of a Spoor node")

func appendHello(dst []byte, h *hello) ([]byte, error) {
	payload, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxHelloBytes {
		return nil, fmt.Errorf("a hello of %d bytes, the limit is %d", len(payload), maxHelloBytes)
	}
	at := len(dst)
	dst = append(dst, magic...)
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[at:], castagnoli)), nil
}

// readHello reads one hello and not a byte more.
func readHello(r io.Reader) (*hello, error) {
	var header [helloHeaderBytes]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, fmt.Errorf("read a hello: %w", err)
	}
	if string(header[:len(magic)]) != magic {
		return nil, errHello
	}
	size := binary.LittleEndian.Uint32(header[len(magic):])
	if size > maxHelloBytes {
		return nil, errHello
	}
	rest := make([]byte, size+4)
	if _, err := io.ReadFull(r, rest); err != nil {
		return nil, fmt.Errorf("read a hello: %w", err)
	}
	sum := crc32.Update(crc32.Checksum(header[:], castagnoli), castagnoli, rest[:size])
	if sum != binary.LittleEndian.Uint32(rest[size:]) {
		return nil, fmt.Errorf("%w: its checksum is wrong", errHello)
	}
	h := new(hello)
	if err := json.Unmarshal(rest[:size], h); err != nil {
		return nil, fmt.Errorf("%w: %w", errHello, err)
	}
	return h, nil
}

// CheckNodeID refuses ids that do not fit into a certificate's name, an address of
// the API or a line of a log.
func CheckNodeID(id string) error {
	if id == "" || len(id) > MaxNodeIDBytes || strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_' && r != '.'
	}) {
		return fmt.Errorf("%.100q is no name of a node: a name has 1 to %d letters, digits, dots, hyphens and underscores", id, MaxNodeIDBytes)
	}
	return nil
}

// check compares a hello with what this node is; wanted is the purpose that is expected, "" for either.
func (p *Port) check(h *hello) *Refusal {
	switch {
	case h.Protocol != Protocol:
		return &Refusal{RefusedProtocol, fmt.Sprintf("node %.100q speaks version %d of the protocol between nodes, node %s version %d: upgrade one release after the other", h.From, h.Protocol, p.opts.ID, Protocol)}
	case h.Cluster != p.cluster:
		return &Refusal{RefusedCluster, fmt.Sprintf("node %.100q belongs to cluster %.40s, node %s to cluster %s: one of them has the wrong address or the wrong data directory", h.From, h.Cluster, p.opts.ID, p.cluster)}
	case h.To != p.opts.ID:
		return &Refusal{RefusedNode, fmt.Sprintf("node %.100q looks for node %.100q, but this is node %s: an address is wrong", h.From, h.To, p.opts.ID)}
	case h.From == p.opts.ID:
		return &Refusal{RefusedNode, fmt.Sprintf("two nodes have the id %s: each needs an id and a data directory of its own", p.opts.ID)}
	case CheckNodeID(h.From) != nil:
		return &Refusal{RefusedNode, CheckNodeID(h.From).Error()}
	}
	return nil
}

func (p *Port) hello(to, purpose string) *hello {
	return &hello{Protocol: Protocol, Cluster: p.cluster, From: p.opts.ID, To: to, Purpose: purpose, Formats: p.opts.Formats}
}

func clusterText(id [16]byte) string { return hex.EncodeToString(id[:]) }
