// Package interop tests a built node against unmodified implementations of other
// people. Both sides are processes; they meet only on the wire. See README.md.
package interop
