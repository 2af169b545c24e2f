package access_test

import (
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/require"

	"spoor/server/access"
)

func TestAKeyIsForItsRoleAndAnAdminKeyForAll(t *testing.T) {
	r, err := access.NewRing([]string{"write-key-0123456789"}, []string{"read-key-0123456789"}, []string{"admin-key-0123456789"})
	require.NoError(t, err)
	for _, c := range []struct {
		key  string
		need access.Role
		want access.Verdict
	}{
		{"", access.Open, access.Granted},
		{"", access.Read, access.Missing},
		{"other", access.Read, access.Unknown},
		{"write-key-0123456789", access.Write, access.Granted},
		{"write-key-0123456789", access.Read, access.Denied},
		{"write-key-0123456789", access.Admin, access.Denied},
		{"read-key-0123456789", access.Read, access.Granted},
		{"read-key-0123456789", access.Write, access.Denied},
		{"admin-key-0123456789", access.Write, access.Granted},
		{"admin-key-0123456789", access.Read, access.Granted},
		{"admin-key-0123456789", access.Admin, access.Granted},
		{"admin-key-0123456789 ", access.Admin, access.Unknown},
	} {
		_, got := r.Admit(c.need, []byte(c.key))
		require.Equal(t, c.want, got, "%q for %s", c.key, c.need)
	}
}

func TestTheFirstTextThatIsAKeyCounts(t *testing.T) {
	r, err := access.NewRing([]string{"write-key-0123456789"}, []string{"read-key-0123456789"}, nil)
	require.NoError(t, err)
	k, sent := r.Identify(nil, []byte("a token of somebody else"), []byte("write-key-0123456789"), []byte("read-key-0123456789"))
	require.True(t, sent)
	require.Equal(t, access.Write, k.Role)
	k, sent = r.Identify(nil, []byte(""))
	require.Nil(t, k)
	require.False(t, sent)
	k, sent = r.Identify(make([]byte, 1<<20))
	require.Nil(t, k)
	require.True(t, sent)
}

func TestWithoutKeysEverythingIsGrantedToThisMachine(t *testing.T) {
	r := &access.Ring{}
	require.True(t, r.Empty())
	for _, key := range []string{"", "some key"} {
		_, v := r.Admit(access.Admin, []byte(key))
		require.Equal(t, access.Granted, v, key)
	}
	beyond := &access.Ring{}
	beyond.Require()
	_, v := beyond.Admit(access.Write)
	require.Equal(t, access.Missing, v)
	_, v = beyond.Admit(access.Write, []byte("some key"))
	require.Equal(t, access.Unknown, v)
}

func TestShortAndRepeatedKeysAreRefusedWithoutNamingThem(t *testing.T) {
	_, err := access.NewRing([]string{"short"}, nil, nil)
	require.ErrorContains(t, err, "write key 1")
	require.NotContains(t, err.Error(), `"short"`)
	_, err = access.NewRing([]string{"0123456789abcdef"}, nil, []string{"0123456789abcdef"})
	require.ErrorContains(t, err, "admin key 1 is used twice")
	require.NotContains(t, err.Error(), "0123456789abcdef")
}

func TestOnlyLoopbackMayBeServedWithoutKeys(t *testing.T) {
	none, _ := access.NewRing(nil, nil, nil)
	some, _ := access.NewRing([]string{"0123456789abcdef"}, nil, nil)
	for address, loopback := range map[string]bool{
		"127.0.0.1:7480": true, "127.8.8.8:1": true, "[::1]:7480": true, "localhost:7480": true, "LOCALHOST:7480": true,
		":7480": false, "0.0.0.0:7480": false, "[::]:7480": false, "10.0.0.1:7480": false, "example.org:7480": false, "localhost.example.org:80": false, "": false,
	} {
		if loopback {
			require.NoError(t, none.CheckListen(address), address)
		} else {
			require.ErrorIs(t, none.CheckListen(address), access.ErrNoKeys, address)
		}
		require.NoError(t, some.CheckListen(address), address)
	}
}

func TestAKeyIsReadFromTheAuthorizationHeader(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("key:password"))
	for header, key := range map[string]string{
		"Bearer key": "key", "bearer  key ": "key", "Basic " + basic: "key", "BASIC " + basic: "key",
		"": "", "Bearer": "", "Basic !!!": "", "Digest key": "", "key": "",
	} {
		require.Equal(t, key, string(access.FromAuthorization([]byte(header))), header)
	}
}

func FuzzFromAuthorization(f *testing.F) {
	f.Add([]byte("Basic a2V5OnBhc3N3b3Jk"))
	f.Fuzz(func(t *testing.T, header []byte) {
		require.LessOrEqual(t, len(access.FromAuthorization(header)), len(header))
	})
}
