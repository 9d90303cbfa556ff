// Package e2e holds the end-to-end tests: the built commands, a Docker Engine,
// a registry and real images, used as an operator would use them. They have the
// build tag e2e; test/e2e/run.sh starts what they need.
package e2e
