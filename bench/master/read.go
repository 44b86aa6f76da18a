package main

import (
	"cmp"
	"io"
	"net"
	"syscall"
)

// readAll hands over what comes until the connection ends or take fails. It stays in one call that
// waits for the connection, so that an answer costs one read and not a second one that finds nothing:
// the simulator should load more than one core of master.
func readAll(conn net.Conn, take func([]byte) error) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1024)
	var failed error
	err = raw.Read(func(fd uintptr) (done bool) {
		for {
			n, err := syscall.Read(int(fd), buf)
			switch {
			case err == syscall.EINTR:
				continue
			case err == syscall.EAGAIN:
				return false
			case err != nil || n == 0:
				failed = cmp.Or(err, error(io.EOF))
				return true
			}
			if failed = take(buf[:n]); failed != nil {
				return true
			}
			if n < len(buf) {
				return false // nothing is left; the end of a connection comes on its own here
			}
		}
	})
	return cmp.Or(err, failed)
}
