//go:build !unix

package wire

import (
	"errors"
	"net"
	"syscall"
)

// rawConn returns nil: what tells when a connection has something is not used here.
func rawConn(*net.TCPConn) syscall.RawConn { return nil }

func readFrom(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
