package redact

import (
	"fmt"
	"math/rand"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// marked puts what is found in brackets.
func marked(text string) string {
	var out strings.Builder
	end := 0
	for _, m := range Scan(nil, []byte(text)) {
		fmt.Fprintf(&out, "%s<%s %s>", text[end:m.From], m.Class, text[m.From:m.To])
		end = m.To
	}
	return out.String() + text[end:]
}

func TestPersonalDataIsFoundWhereItStands(t *testing.T) {
	for _, want := range []string{
		"write to <email ann.o'neil+x@mail.example.co.uk>, please",
		"<email a@b.de>",
		"<email müller@bücher.de>",
		"/reset?email=<email ann%40example.com>&x=1",
		"https://user:<email secret@example.com>/x",
		"<<email a@b.com>>",
		"call <phone +49 (0) 171 1234567> now",
		"<phone +14155552671>",
		"<phone +44-20-7946-0958>.",
		"<card 4111111111111111>",
		"<card 4111 1111 1111 1111>, 12/29",
		"<card 4111-1111-1111-1111>",
		"amex <card 3782 822463 10005>",
		"<card 6011000990139424>;<card 5555555555554444>",
		"<iban DE89370400440532013000>",
		"pay to <iban DE89 3704 0044 0532 0130 00> today",
		"<iban gb82west12345698765432>",
		"<iban NO9386011117947>",
		"Bearer <jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl>",
		"<jwt eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.>",
	} {
		text := strings.NewReplacer("<email ", "", "<phone ", "", "<card ", "", "<iban ", "", "<jwt ", "").Replace(want)
		text = strings.ReplaceAll(text, ">", "")
		if strings.HasPrefix(want, "<<") {
			text = "<a@b.com>"
			want = "<<email a@b.com>>"
		}
		require.Equal(t, want, marked(text))
	}
}

func TestWhatOnlyLooksLikePersonalDataStays(t *testing.T) {
	for _, text := range []string{
		"", "@", "a@b", "@home.de", "npm i @scope/pkg@1.2.3", "x@.de", "a@b.c", "50% of 400",
		"4111111111111112", "41111111111111110", "1748000000000", "1748000000000000", "1748000000000000000",
		"a4111111111111111", "4111111111111111a", "0.4111111111111111", "3.14159265358979323846",
		"2026-05-01T10:20:30+02:00", "2026-05-01 10:20:30.123456", "1 + 12345678", "x+12345678901", "+1234567", "+12345678901234567",
		"DE89370400440532013001", "XX89370400440532013000", "DE893704004405320130009", "8c2f9a31-4a1b-4c7d-9e2f-111122223333",
		"192.168.100.200", "v1.22.333.4444", "eyJhbGciOiJIUzI1NiJ9", "eyJ.eyJ.x", "1234 5678 9012 3456", "order-20260501-000012345",
	} {
		require.Equal(t, text, marked(text))
	}
}

func TestRandomCardsAndAccountsAreFoundAndOneWrongDigitIsNot(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 2000 {
		num := []byte("4000000000000000")
		for i := 1; i < 15; i++ {
			num[i] = '0' + byte(r.Intn(10))
		}
		for c := byte('0'); c <= '9'; c++ {
			num[15] = c
			digits := make([]byte, len(num))
			for i := range num {
				digits[i] = num[i] - '0'
			}
			want := 0
			if luhn(digits) {
				want = 1
			}
			require.Len(t, Scan(nil, num), want, "%s", num)
			require.Equal(t, want == 1, NumberIsCard(num))
		}
		account := fmt.Sprintf("%018d", r.Int63n(1e18))
		found := 0
		for check := range 100 {
			found += len(Scan(nil, fmt.Appendf(nil, "DE%02d%s", check, account)))
		}
		require.LessOrEqual(t, found, 2, account) // 97 residues, 100 check numbers
		require.GreaterOrEqual(t, found, 1, account)
	}
}

func TestNamesOfFieldsAnnouncePersonalData(t *testing.T) {
	for _, name := range []string{"email", "E-Mail", "phone_number", "Credit Card", "firstName", "$email", "cvv2"} {
		require.True(t, NameIsSensitive(name), name)
	}
	for _, name := range []string{"", "name", "emailed", "plan", "phones_sold", "token/x", strings.Repeat("e", 100)} {
		require.False(t, NameIsSensitive(name), name)
	}
}

func TestAnAddressLosesItsEnd(t *testing.T) {
	for text, want := range map[string]string{
		"203.0.113.77": "203.0.113.0", "203.0.113.0": "203.0.113.0", "2001:db8:1:2:3::4": "2001:db8:1::", "::ffff:203.0.113.77": "203.0.113.0",
		"203.0.113.77:443": "203.0.113.0", "[2001:db8::1]:80": "2001:db8::", "203.0.113.77, 198.51.100.9": "203.0.113.0,198.51.100.0",
		"fe80::1%eth0": "fe80::", "unknown": "unknown", "203.0.113.7777": "[ip]", "": "",
	} {
		got, changed := AppendTruncated(nil, []byte(text))
		require.Equal(t, want, string(got))
		require.Equal(t, want != text, changed)
	}
	require.Equal(t, netip.MustParseAddr("203.0.113.0"), Truncate(netip.MustParseAddr("::ffff:203.0.113.9")))
}

func FuzzScan(f *testing.F) {
	for _, seed := range []string{"a%40b.de%40c.de", "+49 171 1234567 4111111111111111", "DE89 3704 0044 0532 0130 00", "eyJ0.eyJ0.x eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0."} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		end := 0
		var rest []byte
		for _, m := range Scan(nil, text) {
			if m.From < end || m.To <= m.From || m.To > len(text) || m.Class >= NumClasses {
				t.Fatalf("match %v in %q behind %d", m, text, end)
			}
			rest = append(append(rest, text[end:m.From]...), "[x]"...)
			end = m.To
		}
		rest = append(rest, text[end:]...)
		if again := Scan(nil, rest); len(again) > len(text) {
			t.Fatalf("%v in %q", again, rest)
		}
		NameIsSensitive(string(text))
		AppendTruncated(nil, text)
	})
}

func BenchmarkScan(b *testing.B) {
	for name, text := range map[string]string{
		"short": "checkout", "url": "https://shop.example.com/p/running-shoes-42?utm_source=news&ref=home", "uuid": "8c2f9a31-4a1b-4c7d-9e2f-111122223333",
		"sentence": strings.Repeat("The customer asked for another size. ", 8), "email": "please write to ann@example.com about it",
	} {
		b.Run(name, func(b *testing.B) {
			text := []byte(text)
			b.SetBytes(int64(len(text)))
			var m []Match
			for range b.N {
				m = Scan(m[:0], text)
			}
		})
	}
}
