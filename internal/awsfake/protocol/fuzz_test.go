package protocol

import (
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
)

// FuzzRequests feeds bodies of all protocols: whatever comes is decoded or refused as malformed.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"tags":[{"key":"k","value":"v"}],"count":2,"networkConfiguration":{"awsvpcConfiguration":{"subnets":["s"]}}}`,
		"Action=CreateChangeSet&Parameters.member.1.ParameterKey=A&Parameters.member.2.ParameterKey=B&Tags=&Capabilities.member.10=x",
		"Parameters.member.1=x&Parameters.member.1.ParameterKey=A&Parameters.entry.1.key=k&Parameters.entry.1.value=v",
		"\xbf\x69StartTime\xc1\xfb\x41\xda\x6a\x00\x00\x00\x00\x00\xff",
		"\xa1\x63abc\x9f\x01\xff", "[", "=", "",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if value, err := plainJSON(body); err == nil {
			refusedOrFilled(t, fill(&ecs.RunTaskInput{}, value))
			refusedOrFilled(t, fill(&ecs.RegisterTaskDefinitionInput{}, value))
		}
		if value, err := plainCBOR(body); err == nil {
			refusedOrFilled(t, fill(&cloudwatch.GetMetricDataInput{}, value))
		}
		if form, err := url.ParseQuery(string(body)); err == nil {
			refusedOrFilled(t, fill(&cloudformation.CreateChangeSetInput{}, plainForm(form)))
		}
	})
}

func refusedOrFilled(t *testing.T, err error) {
	if refused, ok := err.(*Error); err != nil && (!ok || refused.Code != "SerializationException") {
		t.Errorf("got error %v, want a SerializationException", err)
	}
}
