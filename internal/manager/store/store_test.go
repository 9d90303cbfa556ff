package store_test

import (
	"testing"

	"hitoku.dev/internal/manager/store/storetest"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, storetest.SQLite)
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	if _, ok := storetest.Postgres(t); !ok {
		t.Skip("HITOKU_TEST_POSTGRES is not set: wanted the URL of a PostgreSQL database to make schemas in")
	}
	storetest.Run(t, func(t testing.TB) storetest.Backend {
		b, _ := storetest.Postgres(t)
		return b
	})
}
