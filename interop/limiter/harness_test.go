//go:build interop

package limiter_test

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
)

// machine has the engines and the Pythons.
var machine *peer.Machine

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.parallel").Value.String() == flag.Lookup("test.parallel").DefValue {
		_ = flag.Set("test.parallel", "8") // they mostly wait for engines and peers
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if machine, err = peer.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer machine.Close()
	return m.Run()
}
