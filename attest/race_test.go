//go:build race

package attest_test

// memoryFactor allows for what the race detector moves from the stack to the heap.
const memoryFactor = 2
