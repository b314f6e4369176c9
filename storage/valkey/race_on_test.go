//go:build race

package valkey_test

// raceDetector allocates beside the code, and throws away what pools keep.
const raceDetector = true
