package clienttest

import (
	"context"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// inChrome begins the names of clients that run in a real browser, not in jsdom:
// they meet CORS, preflights and keepalive as they are.
const inChrome = "chrome-"

// maxChromes bounds the browsers that run at once, by memory and processors.
const maxChromes = 3

var chromes = make(chan struct{}, maxChromes)

// chromium is the browser, and why there is none.
var chromium struct {
	once sync.Once
	path string
	why  string
}

// needChrome returns the path of Chromium, which is installed where it is absent
// and a package of Debian's may be; it skips the test where there is none.
func needChrome(t *testing.T) string {
	t.Helper()
	chromium.once.Do(func() {
		if chromium.path = findChrome(); chromium.path != "" {
			return
		}
		chromium.why = installChrome()
		chromium.path = findChrome()
	})
	if chromium.path == "" {
		t.Skip("the clients of browsers are tested in jsdom alone: " + chromium.why)
	}
	return chromium.path
}

func findChrome() string {
	for _, name := range []string{os.Getenv("SPOOR_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	return ""
}

// chromeInstallTime bounds the installation of the browser.
const chromeInstallTime = 2 * time.Minute

// installChrome installs Chromium and says why it could not.
func installChrome() (why string) {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return "chromium is not installed; SPOOR_CHROMIUM may name one"
	}
	ctx, cancel := context.WithTimeout(context.Background(), chromeInstallTime)
	defer cancel()
	for _, args := range [][]string{{"update", "-qq"}, {"install", "-qq", "-y", "--no-install-recommends", "chromium"}} {
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "apt-get " + args[0] + ": " + err.Error() + ": " + string(out[max(0, len(out)-200):])
		}
	}
	return ""
}
