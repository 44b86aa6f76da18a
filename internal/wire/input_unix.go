//go:build unix

package wire

import (
	"net"
	"syscall"
)

// rawConn returns what tells when a connection has something, nil if there is no such thing.
func rawConn(conn *net.TCPConn) syscall.RawConn {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readFrom reads without waiting.
func readFrom(fd uintptr, b []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
