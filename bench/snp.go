package main

import "io/fs"

func benchSNP(fs.FS) error { return nil }
