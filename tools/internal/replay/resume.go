package replay

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// readResume reads the keys of the files that earlier runs have done. The last
// line of a run that was cut off may be torn: no file has that name.
func readResume(name string) (done map[string]bool, err error) {
	done = map[string]bool{}
	if name == "" {
		return done, nil
	}
	f, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return done, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--resume: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		done[lines.Text()] = true
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("--resume %s: %w", name, err)
	}
	return done, nil
}

// remember notes that a file is done. A line begins with a line end, so that one that
// is torn spoils no other.
func remember(name, key string) error {
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	_, err = f.WriteString("\n" + key)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("--resume %s: %w", name, err)
	}
	return nil
}
