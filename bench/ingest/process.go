package ingest

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has taken so far. Linux tells it in /proc; elsewhere it is unknown.
type Usage struct {
	CPU     time.Duration // user and system
	PeakRSS int64         // bytes
	Read    int64         // bytes that it read of files and connections
	Written int64         // bytes that it wrote to them
}

// ticksPerSecond is USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// UsageOf asks the kernel; pid may be "self".
func UsageOf(pid string) (Usage, error) {
	var u Usage
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return u, err
	}
	// The name, in brackets, may hold anything; user and system time are fields 14 and 15.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, fmt.Errorf("read /proc/%s/stat: %d fields", pid, len(fields))
	}
	for _, f := range fields[11:13] {
		ticks, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, fmt.Errorf("read /proc/%s/stat: %w", pid, err)
		}
		u.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	peak, err := procField(pid, "status", "VmHWM:")
	if err != nil {
		return u, err
	}
	u.PeakRSS = peak << 10 // it is in kB
	if u.Read, err = procField(pid, "io", "rchar:"); err != nil {
		return u, err
	}
	u.Written, err = procField(pid, "io", "wchar:")
	return u, err
}

// ResetPeak makes the kernel begin anew to look for the process's peak of memory.
func ResetPeak(pid string) error {
	return os.WriteFile("/proc/"+pid+"/clear_refs", []byte("5"), 0)
}

// procField reads the number behind a name in a file of lines.
func procField(pid, file, name string) (int64, error) {
	path := "/proc/" + pid + "/" + file
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			v, err := strconv.ParseInt(number, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read %s of %s: %w", name, path, err)
			}
			return v, nil
		}
	}
	return 0, fmt.Errorf("read %s: there is no %s", path, name)
}
