package awsrun

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// written is an override in one line.
func written(o Overrides) string {
	t := o.override()
	if t == nil {
		return "nil"
	}
	var parts []string
	if t.Cpu != nil || t.Memory != nil {
		parts = append(parts, aws.ToString(t.Cpu)+"/"+aws.ToString(t.Memory))
	}
	for _, c := range t.ContainerOverrides {
		text := *c.Name + ":"
		for _, pair := range c.Environment {
			text += fmt.Sprintf(" %s=%q", *pair.Name, *pair.Value)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func TestOverridesOfConnect(t *testing.T) {
	n := 7
	for _, test := range []struct {
		name string
		o    Overrides
		want string
	}{
		{"nothing", Connect("", Size{}, Tuning{}, 0, false), "nil"},
		{"locustfile", Connect("a.py", Size{}, Tuning{}, 0, false), `locust-master: LOCUSTFILE="a.py"; worker-orchestrator: LOCUSTFILE="a.py"`},
		{"most workers", Connect("", Size{}, Tuning{MaxWorkers: &n}, 0, false), `worker-orchestrator: MAX_WORKERS="7"`},
		{"least workers", Connect("", Size{}, Tuning{MinWorkers: &n}, 0, false), `worker-orchestrator: MIN_WORKERS="7"`},
		{"users per worker", Connect("", Size{}, Tuning{UsersPerWorker: &n}, 0, false), `worker-orchestrator: USERS_PER_WORKER="7"`},
		{"lead time", Connect("", Size{}, Tuning{StartupLeadTime: &n}, 0, false), `worker-orchestrator: STARTUP_LEAD_TIME="7"`},
		{"pool", Connect("", Size{}, Tuning{}, 200, false), `locust-master: BOTO3_MAX_POOL="200"`},
		{"standalone", Connect("", Size{}, Tuning{}, 0, true), `locust-master: LOCUST_MASTER_ARGS=""; worker-orchestrator: MAX_WORKERS="0" MIN_WORKERS="0"`},
		{"size", Connect("", Size{CPU: 1024, Memory: 2048}, Tuning{}, 0, false), "1024/2048"},
		{"memory alone", Connect("", Size{Memory: 4096}, Tuning{}, 0, false), "/4096"},
	} {
		if got := written(test.o); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestOverridesOfABenchmarkAlone(t *testing.T) {
	got := written(Alone("a.py", "--autostart --users 3", Size{}))
	want := `locust-master: LOCUSTFILE="a.py" LOCUST_MASTER_ARGS="--autostart --users 3"; worker-orchestrator: MAX_WORKERS="0" MIN_WORKERS="0"`
	if got != want {
		t.Errorf("overrides %s, want %s", got, want)
	}
}

func TestSizesOfFargate(t *testing.T) {
	for _, good := range []Size{{256, 512}, {256, 2048}, {512, 4096}, {1024, 2048}, {1024, 8192}, {4096, 30720}, {8192, 20480}, {16384, 122880}} {
		if err := good.Validate(); err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, test := range []struct {
		size Size
		want string
	}{
		{Size{256, 1536}, "256 CPU units do not go with 1536 MB: want 512, 1024 or 2048 MB"},
		{Size{1024, 1024}, "1024 CPU units do not go with 1024 MB: want 2048 to 8192 MB in steps of 1024"},
		{Size{8192, 17408}, "8192 CPU units do not go with 17408 MB: want 16384 to 61440 MB in steps of 4096"},
		{Size{1000, 2048}, "1000 CPU units are unknown to Fargate: want one of 256, 512, 1024, 2048, 4096, 8192, 16384"},
	} {
		if err := test.size.Validate(); err == nil || err.Error() != test.want {
			t.Errorf("%v: %v, want %s", test.size, err, test.want)
		}
	}
}
