// Package docs has the pages for people, and nothing but tests in Go: what a page
// says to type is typed, and what it says to read is read. README.md here says
// which page is for whom.
package docs
