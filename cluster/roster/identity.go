package roster

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"path/filepath"

	"spoor/internal/vfs"
)

// IdentityFile stands in a data directory and says whose it is:
//
//	8 hex digits: CRC32C of what follows | space | JSON {"version","id","disk"}
//
// disk is random: a node that comes with its name and an empty disk is told apart
// from itself, since it would have forgotten its votes. A backup does not hold the file.
const IdentityFile = "node"

const (
	identityVersion = 1
	diskBytes       = 16
	diskDigits      = 2 * diskBytes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

type identity struct {
	Version int    `json:"version"`
	ID      string `json:"id"`
	Disk    string `json:"disk"`
}

// OpenIdentity reads whose a data directory is and returns the id of its disk. Where nothing
// is written yet, it writes the name of the node and a random id.
func OpenIdentity(fsys vfs.FS, dir, id string, random io.Reader) (disk string, err error) {
	path := filepath.Join(dir, IdentityFile)
	b, err := vfs.ReadFile(fsys, path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeIdentity(fsys, dir, id, random)
	}
	if err != nil {
		return "", fmt.Errorf("read whose data directory it is: %w", err)
	}
	i, err := parseIdentity(b)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	if i.ID != id {
		return "", fmt.Errorf("the data in %s is that of node %s, not of %s; give each node a directory of its own", dir, i.ID, id)
	}
	return i.Disk, nil
}

func parseIdentity(b []byte) (i identity, err error) {
	sum, body, ok := bytes.Cut(b, []byte(" "))
	if !ok || string(sum) != fmt.Sprintf("%08x", crc32.Checksum(body, castagnoli)) {
		return i, errors.New("it is damaged; if the rest of the directory is sound, remove the file")
	}
	if err := json.Unmarshal(body, &i); err != nil {
		return i, err
	}
	if i.Version != identityVersion {
		return i, fmt.Errorf("unknown version %d, this program knows %d", i.Version, identityVersion)
	}
	return i, nil
}

func makeIdentity(fsys vfs.FS, dir, id string, random io.Reader) (string, error) {
	disk := make([]byte, diskBytes)
	if _, err := io.ReadFull(random, disk); err != nil {
		return "", fmt.Errorf("name a disk: %w", err)
	}
	i := identity{Version: identityVersion, ID: id, Disk: hex.EncodeToString(disk)}
	body, err := json.Marshal(i)
	if err != nil {
		return "", err
	}
	body = append(body, '\n')
	if err = fsys.MkdirAll(dir); err == nil {
		err = vfs.WriteFileAtomic(fsys, filepath.Join(dir, IdentityFile), append(fmt.Appendf(nil, "%08x ", crc32.Checksum(body, castagnoli)), body...))
	}
	if err != nil {
		return "", fmt.Errorf("write whose data directory it is: %w", err)
	}
	return i.Disk, nil
}
