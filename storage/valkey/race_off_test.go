//go:build !race

package valkey_test

const raceDetector = false
