//go:build !unix

package lean

import (
	"errors"
	"net"
	"os"
	"time"
)

// quiet reports whether a socket is open and has nothing to read: a read that would have to wait.
// What it may take from the socket makes the connection useless, so nothing is lost.
func quiet(c net.Conn) bool {
	var one [1]byte
	if err := c.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
		return false
	}
	_, err := c.Read(one[:])
	return errors.Is(err, os.ErrDeadlineExceeded) && c.SetReadDeadline(time.Now().Add(exchangeTimeout)) == nil
}
