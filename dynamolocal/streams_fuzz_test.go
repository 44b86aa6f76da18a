package dynamolocal

import "testing"

// FuzzShardIterator: an iterator is text that came over the network; what is read of it is written back as
// it was read, and nothing else is taken for one.
func FuzzShardIterator(f *testing.F) {
	f.Add("arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000|001|c2hhcmRJZC0wMHxUUklNX0hPUklaT058MQ==")
	f.Add("a|001|YXwxfDI=")
	f.Add("a|002|YXwxfDI=")
	f.Add("||")
	f.Fuzz(func(t *testing.T, text string) {
		i, ok := parseShardIterator(text)
		if !ok {
			return
		}
		again, ok := parseShardIterator(i.String())
		if !ok || again != i {
			t.Errorf("%q reads as %+v, which is written as %q and reads as %+v", text, i, i.String(), again)
		}
	})
}
