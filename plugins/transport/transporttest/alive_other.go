//go:build !unix

package transporttest

// alive does not know; that the host says that the process has ended is all
// there is.
func alive(int) bool { return false }
