package ssm

import (
	"testing"
	"time"
)

func FuzzMessagesSurviveTheWire(f *testing.F) {
	f.Add(typeInput, int64(7), uint32(1), []byte("GET / HTTP/1.1"))
	f.Add(typeAcknowledge, int64(0), uint32(0), []byte{})
	f.Fuzz(func(t *testing.T, kind string, sequence int64, payload uint32, content []byte) {
		want := newMessage(kind, payloadType(payload), content)
		want.sequence, want.flags = sequence, bitSYN
		got, err := decode(want.encode(time.UnixMilli(1)))
		if err != nil {
			t.Fatal(err)
		}
		if got.sequence != want.sequence || got.payload != want.payload || got.flags != want.flags || got.id != want.id || string(got.content) != string(content) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}

func FuzzDecodeRefusesWhatIsNoMessage(f *testing.F) {
	f.Add(newMessage(typeInput, payloadOutput, []byte("x")).encode(time.UnixMilli(1)))
	f.Add([]byte{})
	f.Add(make([]byte, headerSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err == nil && len(m.content) > len(b)-headerSize {
			t.Errorf("content of %d bytes out of %d", len(m.content), len(b))
		}
	})
}

func TestDecodeFindsDamage(t *testing.T) {
	b := newMessage(typeInput, payloadOutput, []byte("hello")).encode(time.UnixMilli(1))
	b[len(b)-1] ^= 1
	if _, err := decode(b); err == nil {
		t.Error("a changed payload was accepted")
	}
}
