//go:build !race

package attest_test

const memoryFactor = 1
