package aggregator

import (
	"encoding/json"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// FuzzEvent: whatever a mapping sends is an error or an answer, and never ends the function.
func FuzzEvent(f *testing.F) {
	const bucket = `{"PK":{"S":"ns/BUCKET#u#api#0"},"SK":{"S":"#STATE"},"entity_id":{"S":"u"},"rf":{"N":"1"},"shard_count":{"N":"1"},"b_rpm_tk":{"N":"0"},"b_rpm_cp":{"N":"1000"},"b_rpm_ra":{"N":"1000"},"b_rpm_rp":{"N":"1000"},"b_rpm_tc":{"N":"9"}}`
	f.Add([]byte(`{"Records":[{"eventName":"MODIFY","dynamodb":{"ApproximateCreationDateTime":1.5,"SequenceNumber":"1","OldImage":` + bucket + `,"NewImage":` + bucket + `}}]}`))
	f.Add([]byte(`{"Records":[{"eventName":"INSERT","dynamodb":{"NewImage":{"a":{"L":[{"NULL":true},{"M":{"b":{"B":"AA=="},"s":{"SS":["x"]}}}]}}}}]}`))
	f.Add([]byte(`{"Records":[{"eventName":"MODIFY"}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		engine, err := dynamolocal.New(dynamolocal.Config{}) // without a table: every write fails
		if err != nil {
			t.Fatal(err)
		}
		defer engine.Close()
		out, err := New(Config{Table: engine.Client(), TableName: "t", Windows: []Window{Hourly, Monthly}}).Handler().Invoke(t.Context(), "id", payload)
		var a answer
		if err == nil && (json.Unmarshal(out, &a) != nil || a.BatchItemFailures == nil) {
			t.Errorf("answer %s", out)
		}
	})
}
