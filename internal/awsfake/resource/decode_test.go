package resource_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

type container struct {
	Name        *string
	Essential   *bool
	StopTimeout *int32
	Weight      float64
	Command     []string
	Options     map[string]string
	Parts       []part
}

type part struct{ Key string }

func TestDecodeReadsPropertiesAsTemplatesWriteThem(t *testing.T) {
	name, essential, timeout := "master", true, int32(120)
	want := container{
		Name: &name, Essential: &essential, StopTimeout: &timeout, Weight: 1.5,
		Command: []string{"load", "master"}, Options: map[string]string{"mode": "8"}, Parts: []part{{"a"}},
	}
	var got container
	err := resource.Decode(map[string]any{
		"Name": "master", "Essential": "true", "stopTimeout": "120", "Weight": 1.5, "Unknown": 1,
		"Command": []any{"load", "master"}, "Options": map[string]any{"mode": float64(8)},
		"Parts": []any{map[string]any{"Key": "a"}},
	}, &got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeNamesThePropertyAtFault(t *testing.T) {
	var got container
	err := resource.Decode(map[string]any{"Parts": []any{map[string]any{"Key": []any{}}}}, &got)
	if err == nil || err.Error() != "property /Parts/0/Key: [] is not a single value" {
		t.Errorf("error %v", err)
	}
	err = resource.Decode(map[string]any{"StopTimeout": "long"}, &got)
	if err == nil || err.Error() != "property /StopTimeout: long is not int32" {
		t.Errorf("error %v", err)
	}
}
