package wire

import (
	"encoding/hex"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Messages as Locust's own code packs them.
func TestMessagesAreLocustsBytes(t *testing.T) {
	for _, test := range []struct {
		name    string
		message Message
		want    string
	}{
		{"client ready with a version", Message{"client_ready", ClientReady{"2.46.3"}, "h1_a"},
			"93ac636c69656e745f7265616479a6322e34362e33a468315f61"},
		{"client ready without a check", Message{"client_ready", ClientReady{}, "h1_a"},
			"93ac636c69656e745f7265616479ffa468315f61"},
		{"ack", Message{"ack", Ack{}, "h1_a"}, "93a361636b81a5696e64657800a468315f61"},
		{"a master's heartbeat", Message{"heartbeat", nil, "h1_a"}, "93a9686561727462656174c0a468315f61"},
		{"a worker's heartbeat", Message{"heartbeat", Heartbeat{State: "ready", Memory: 59191296}, "h1_a"},
			"93a968656172746265617483a57374617465a57265616479b163757272656e745f6370755f7573616765cb0000000000000000b463757272656e745f6d656d6f72795f7573616765ce03873000a468315f61"},
		{"stop", Message{"stop", nil, "h1_a"}, "93a473746f70c0a468315f61"},
		{"spawn", Message{"spawn", Spawn{Timestamp: 1700000000.25, UsersByClass: map[string]int{"A": 2, "B": 0}, Options: map[string]any{}}, "h1_a"},
			"93a5737061776e85a974696d657374616d70cb41d954fc40100000b2757365725f636c61737365735f636f756e7482a14102a14200a4686f7374c0ac73746f705f74696d656f7574cb0000000000000000ae7061727365645f6f7074696f6e7380a468315f61"},
		{"a custom message with numbers as keys", Message{"x", map[string]any{"response_times": map[any]any{int64(10): int64(2), int64(150): int64(1)}, "ts": map[any]any{int64(1700000002): int64(5)}}, "h1_a"},
			"93a17882ae726573706f6e73655f74696d6573820a02cc9601a2747381ce6553f10205a468315f61"},
		{"a custom message of bytes", Message{"x", []byte{1, 2}, "h1_a"}, "93a178c4020102a468315f61"},
	} {
		t.Run(test.name, func(t *testing.T) {
			encoded, err := test.message.AppendBinary(nil)
			if got := hex.EncodeToString(encoded); err != nil || got != test.want {
				t.Errorf("encoded %s, %v\nwant    %s", got, err, test.want)
			}
			decoded, err := Decode(encoded)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.message, decoded); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
		})
	}
}
