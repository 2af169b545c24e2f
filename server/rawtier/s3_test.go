package rawtier_test

import (
	"context"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"spoor/engine/erasure"
	"spoor/server/rawtier/blob"
	"spoor/server/rawtier/blob/blobtest"
)

func bucket(t *testing.T, g *blobtest.Gateway) blob.Store {
	s, err := blob.Open("s3://"+blobtest.Bucket+"/tier", blob.Options{Endpoint: g.Endpoint(), Region: "us-east-1", Timeout: 5 * time.Second})
	require.NoError(t, err)
	return s
}

func TestARealServerIsKilledInTheMiddleOfUploadsAndNothingIsLostOrTwice(t *testing.T) {
	g := blobtest.Start(t, t.TempDir())
	w := newWorld(t, bucket(t, g))
	w.fill(3, 400, 11)
	w.at(5, 0)
	kills := 10
	if os.Getenv("SOAK") != "" {
		kills = 200
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	var worked atomic.Int64
	go func() { // the world is its own until it has ended
		defer close(ended)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := w.tier.Round(context.Background()); err == nil {
				worked.Add(1)
				w.send("", `{"eventId":"late-%d","eventName":"view","userId":"u1","timestamp":"2026-05-01T10:00:00Z"}`, i)
				w.now = w.now.Add(2 * time.Hour)
			}
			if i%3 == 0 {
				w.restart()
			}
		}
	}()
	for i := 0; i < kills || worked.Load() == 0 && i < 50*kills; i++ { // a slow machine needs more tries
		time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond) // a moment in the middle of anything
		g.Kill()
		g.Run()
	}
	close(stop)
	<-ended
	require.Positive(t, worked.Load())
	w.erase(&erasure.Request{Kind: erasure.Person, User: "u3"}, func(_, sent string) bool { return number(sent)%9 == 3 && len(sent) > 200 })
	w.round()
	w.now = time.Now().Add(100 * time.Hour)
	w.restart()
	w.round()
	w.check(day0.AddDate(0, 0, 3))
}

func TestAServerThatIsFullOrRefusesTheSecretIsToldOfAndLaterGoneOnWith(t *testing.T) {
	root := t.TempDir()
	if err := syscall.Mount("spoor-test", root, "tmpfs", 0, "size=1m,mode=0700"); err != nil {
		t.Skipf("no small file system can be made here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root, syscall.MNT_DETACH) })
	g := blobtest.Start(t, root)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	w := newWorld(t, bucket(t, g))
	w.fill(2, 400, 12)
	w.at(4, 0)
	require.ErrorIs(t, w.tier.Round(context.Background()), blob.ErrDenied)
	t.Setenv("AWS_SECRET_ACCESS_KEY", blobtest.SecretKey)
	w.store = bucket(t, g)
	hog := root + "/hog"
	f, err := os.Create(hog)
	require.NoError(t, err)
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	require.NoError(t, f.Close())
	require.NoError(t, os.Truncate(hog, 960<<10)) // what is left is too little
	w.restart()
	err = w.tier.Round(context.Background())
	require.Error(t, err)
	require.Contains(t, w.tier.Status().Error, "write")
	require.NoError(t, os.Remove(hog))
	w.round()
	w.now = time.Now().Add(100 * time.Hour)
	w.restart()
	w.round()
	w.check(day0.AddDate(0, 0, 2))
}
