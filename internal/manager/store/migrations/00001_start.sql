-- +goose Up
-- One set of statements for SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN, BYTEA, no NULL, times in microseconds since 1970.
-- A column "mac" authenticates the other columns of its row (security decision S18).

CREATE TABLE settings (
  name    TEXT   NOT NULL PRIMARY KEY,
  value   BYTEA  NOT NULL,
  version BIGINT NOT NULL,
  mac     BYTEA  NOT NULL
);

CREATE TABLE accounts (
  id                   TEXT    NOT NULL PRIMARY KEY,
  name                 TEXT    NOT NULL,
  name_key             TEXT    NOT NULL UNIQUE,
  test_only            BOOLEAN NOT NULL,
  status               TEXT    NOT NULL,
  component            TEXT    NOT NULL,
  distinct_approver    BOOLEAN NOT NULL,
  custom_logo          TEXT    NOT NULL,
  options              TEXT    NOT NULL,
  created_by           TEXT    NOT NULL,
  created_at           BIGINT  NOT NULL,
  updated_at           BIGINT  NOT NULL,
  version              BIGINT  NOT NULL,
  mac                  BYTEA   NOT NULL
);

CREATE TABLE authorities (
  id          TEXT   NOT NULL PRIMARY KEY,
  account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  zone_id     TEXT   NOT NULL,
  kind        TEXT   NOT NULL,
  state       TEXT   NOT NULL,
  certificate TEXT   NOT NULL,
  sealed_key  BYTEA  NOT NULL,
  created_at  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  mac         BYTEA  NOT NULL
);
CREATE INDEX authorities_by_zone ON authorities (account_id, kind, zone_id);

CREATE TABLE users (
  id             TEXT    NOT NULL PRIMARY KEY,
  email          TEXT    NOT NULL,
  email_key      TEXT    NOT NULL UNIQUE,
  first_name     TEXT    NOT NULL,
  last_name      TEXT    NOT NULL,
  password_hash  TEXT    NOT NULL,
  status         TEXT    NOT NULL,
  system_admin   BOOLEAN NOT NULL,
  email_verified BOOLEAN NOT NULL,
  terms_accepted BOOLEAN NOT NULL,
  created_at     BIGINT  NOT NULL,
  updated_at     BIGINT  NOT NULL,
  last_login_at  BIGINT  NOT NULL,
  version        BIGINT  NOT NULL,
  mac            BYTEA   NOT NULL
);

CREATE TABLE memberships (
  account_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  user_id    TEXT   NOT NULL REFERENCES users (id),
  roles      TEXT   NOT NULL,
  status     TEXT   NOT NULL,
  invited_by TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  mac        BYTEA  NOT NULL,
  PRIMARY KEY (account_id, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id);

CREATE TABLE sessions (
  id               TEXT   NOT NULL PRIMARY KEY,
  user_id          TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
  account_id       TEXT   NOT NULL,
  created_at       BIGINT NOT NULL,
  expires_at       BIGINT NOT NULL,
  token_expires_at BIGINT NOT NULL,
  version          BIGINT NOT NULL,
  mac              BYTEA  NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);

CREATE TABLE api_tokens (
  id           TEXT   NOT NULL PRIMARY KEY,
  account_id   TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name         TEXT   NOT NULL,
  secret_hash  TEXT   NOT NULL UNIQUE,
  roles        TEXT   NOT NULL,
  created_by   TEXT   NOT NULL,
  created_at   BIGINT NOT NULL,
  expires_at   BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  mac          BYTEA  NOT NULL
);

CREATE TABLE zones (
  id                TEXT    NOT NULL PRIMARY KEY,
  account_id        TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name              TEXT    NOT NULL,
  description       TEXT    NOT NULL,
  is_default        BOOLEAN NOT NULL,
  refresh_interval  BIGINT  NOT NULL,
  renewal_threshold BIGINT  NOT NULL,
  created_at        BIGINT  NOT NULL,
  version           BIGINT  NOT NULL,
  mac               BYTEA   NOT NULL,
  UNIQUE (account_id, name)
);

CREATE TABLE join_tokens (
  id          TEXT   NOT NULL PRIMARY KEY,
  account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  zone_id     TEXT   NOT NULL,
  kind        TEXT   NOT NULL,
  secret_hash TEXT   NOT NULL,
  sealed      BYTEA  NOT NULL,
  status      TEXT   NOT NULL,
  uses_limit  BIGINT NOT NULL,
  uses        BIGINT NOT NULL,
  created_by  TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  expires_at  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  mac         BYTEA  NOT NULL
);
CREATE INDEX join_tokens_by_zone ON join_tokens (account_id, zone_id, status);

CREATE TABLE apps (
  id              TEXT   NOT NULL PRIMARY KEY,
  account_id      TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name            TEXT   NOT NULL,
  name_key        TEXT   NOT NULL,
  description     TEXT   NOT NULL,
  input_image     TEXT   NOT NULL,
  output_image    TEXT   NOT NULL,
  isvprodid       BIGINT NOT NULL,
  isvsvn          BIGINT NOT NULL,
  mem_size        BIGINT NOT NULL,
  threads         BIGINT NOT NULL,
  allowed_domains TEXT   NOT NULL,
  labels          TEXT   NOT NULL,
  settings        TEXT   NOT NULL,
  pending_task_id TEXT   NOT NULL,
  created_by      TEXT   NOT NULL,
  created_at      BIGINT NOT NULL,
  updated_at      BIGINT NOT NULL,
  version         BIGINT NOT NULL,
  mac             BYTEA  NOT NULL,
  UNIQUE (account_id, name_key)
);

-- One domain belongs to one application of its account (S19).
CREATE TABLE domains (
  account_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  name       TEXT   NOT NULL,
  app_id     TEXT   NOT NULL,
  task_id    TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  mac        BYTEA  NOT NULL,
  PRIMARY KEY (account_id, name)
);
CREATE INDEX domains_by_app ON domains (account_id, app_id);

CREATE TABLE builds (
  id                TEXT   NOT NULL PRIMARY KEY,
  account_id        TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  app_id            TEXT   NOT NULL,
  status            TEXT   NOT NULL,
  status_updated_at BIGINT NOT NULL,
  digest            TEXT   NOT NULL,
  mrenclave         TEXT   NOT NULL,
  mrsigner          TEXT   NOT NULL,
  isvprodid         BIGINT NOT NULL,
  isvsvn            BIGINT NOT NULL,
  mem_size          BIGINT NOT NULL,
  threads           BIGINT NOT NULL,
  docker_name       TEXT   NOT NULL,
  docker_version    TEXT   NOT NULL,
  docker_info       TEXT   NOT NULL,
  attributes        TEXT   NOT NULL,
  measurements      TEXT   NOT NULL,
  settings          TEXT   NOT NULL,
  configs           TEXT   NOT NULL,
  pending_task_id   TEXT   NOT NULL,
  created_by        TEXT   NOT NULL,
  created_at        BIGINT NOT NULL,
  updated_at        BIGINT NOT NULL,
  version           BIGINT NOT NULL,
  mac               BYTEA  NOT NULL
);
CREATE INDEX builds_by_app ON builds (account_id, app_id);

-- Finds the build of a measurement and keeps measurements unique in an account. What it
-- says is checked against the build itself.
CREATE TABLE build_measurements (
  account_id  TEXT NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  measurement TEXT NOT NULL,
  build_id    TEXT NOT NULL,
  PRIMARY KEY (account_id, measurement)
);
CREATE INDEX build_measurements_by_build ON build_measurements (account_id, build_id);

CREATE TABLE conversions (
  id          TEXT   NOT NULL PRIMARY KEY,
  account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  app_id      TEXT   NOT NULL,
  build_id    TEXT   NOT NULL,
  status      TEXT   NOT NULL,
  request     TEXT   NOT NULL,
  progress    TEXT   NOT NULL,
  failure     TEXT   NOT NULL,
  created_by  TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL
);

CREATE TABLE tasks (
  id                TEXT   NOT NULL PRIMARY KEY,
  account_id        TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  type              TEXT   NOT NULL,
  status            TEXT   NOT NULL,
  status_updated_at BIGINT NOT NULL,
  requester_type    TEXT   NOT NULL,
  requester_id      TEXT   NOT NULL,
  requester_name    TEXT   NOT NULL,
  entity_id         TEXT   NOT NULL,
  app_id            TEXT   NOT NULL,
  build_id          TEXT   NOT NULL,
  node_id           TEXT   NOT NULL,
  certificate_id    TEXT   NOT NULL,
  description       TEXT   NOT NULL,
  subject           TEXT   NOT NULL,
  digest            TEXT   NOT NULL,
  approvals         TEXT   NOT NULL,
  reason            TEXT   NOT NULL,
  created_at        BIGINT NOT NULL,
  version           BIGINT NOT NULL,
  mac               BYTEA  NOT NULL
);
CREATE INDEX tasks_by_account ON tasks (account_id, status, created_at);
CREATE INDEX tasks_by_entity ON tasks (account_id, entity_id);

CREATE TABLE nodes (
  id                TEXT   NOT NULL PRIMARY KEY,
  account_id        TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  zone_id           TEXT   NOT NULL,
  name              TEXT   NOT NULL,
  description       TEXT   NOT NULL,
  ipaddress         TEXT   NOT NULL,
  status            TEXT   NOT NULL,
  status_updated_at BIGINT NOT NULL,
  platform          TEXT   NOT NULL,
  platform_id       TEXT   NOT NULL,
  attestation_type  TEXT   NOT NULL,
  sgx_version       TEXT   NOT NULL,
  sys_info          TEXT   NOT NULL,
  labels            TEXT   NOT NULL,
  error_report      TEXT   NOT NULL,
  certificate_id    TEXT   NOT NULL,
  join_token_id     TEXT   NOT NULL,
  attested_at       BIGINT NOT NULL,
  created_at        BIGINT NOT NULL,
  version           BIGINT NOT NULL,
  mac               BYTEA  NOT NULL
);
CREATE INDEX nodes_by_platform ON nodes (account_id, platform_id);

-- What agents report about themselves: shown to people, never decided upon.
CREATE TABLE node_contacts (
  account_id        TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  node_id           TEXT   NOT NULL,
  last_seen_at      BIGINT NOT NULL,
  last_seen_version TEXT   NOT NULL,
  reported_status   TEXT   NOT NULL,
  PRIMARY KEY (account_id, node_id)
);

CREATE TABLE deployments (
  account_id        TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  id                TEXT   NOT NULL,
  app_id            TEXT   NOT NULL,
  build_id          TEXT   NOT NULL,
  node_id           TEXT   NOT NULL,
  certificate_id    TEXT   NOT NULL,
  status            TEXT   NOT NULL,
  status_updated_at BIGINT NOT NULL,
  attested_at       BIGINT NOT NULL,
  created_at        BIGINT NOT NULL,
  PRIMARY KEY (account_id, id)
);
CREATE INDEX deployments_by_node ON deployments (account_id, node_id);
CREATE INDEX deployments_by_build ON deployments (account_id, build_id);

CREATE TABLE certificates (
  id           TEXT   NOT NULL PRIMARY KEY,
  account_id   TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  zone_id      TEXT   NOT NULL,
  authority_id TEXT   NOT NULL,
  kind         TEXT   NOT NULL,
  status       TEXT   NOT NULL,
  node_id      TEXT   NOT NULL,
  app_id       TEXT   NOT NULL,
  build_id     TEXT   NOT NULL,
  task_id      TEXT   NOT NULL,
  serial       TEXT   NOT NULL,
  key_hash     TEXT   NOT NULL,
  subject      TEXT   NOT NULL,
  csr          TEXT   NOT NULL,
  certificate  TEXT   NOT NULL,
  details      TEXT   NOT NULL,
  not_before   BIGINT NOT NULL,
  not_after    BIGINT NOT NULL,
  created_at   BIGINT NOT NULL,
  revoked_at   BIGINT NOT NULL,
  version      BIGINT NOT NULL,
  mac          BYTEA  NOT NULL
);
CREATE INDEX certificates_by_serial ON certificates (account_id, serial);
CREATE INDEX certificates_by_app ON certificates (account_id, app_id, node_id);
CREATE INDEX certificates_by_build ON certificates (account_id, build_id, status);
CREATE INDEX certificates_by_node ON certificates (account_id, node_id, status);
CREATE INDEX certificates_by_key ON certificates (account_id, key_hash);

CREATE TABLE nonces (
  id         TEXT   NOT NULL PRIMARY KEY,
  account_id TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  node_id    TEXT   NOT NULL,
  subject    TEXT   NOT NULL,
  purpose    TEXT   NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  version    BIGINT NOT NULL,
  mac        BYTEA  NOT NULL
);
CREATE INDEX nonces_by_expiry ON nonces (expires_at);

CREATE TABLE registries (
  id          TEXT   NOT NULL PRIMARY KEY,
  account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  url         TEXT   NOT NULL,
  url_key     TEXT   NOT NULL,
  username    TEXT   NOT NULL,
  sealed      BYTEA  NOT NULL,
  description TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  mac         BYTEA  NOT NULL,
  UNIQUE (account_id, url_key)
);

CREATE TABLE configurations (
  account_id  TEXT   NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
  id          TEXT   NOT NULL,
  name        TEXT   NOT NULL,
  description TEXT   NOT NULL,
  content     TEXT   NOT NULL,
  ports       TEXT   NOT NULL,
  created_at  BIGINT NOT NULL,
  updated_at  BIGINT NOT NULL,
  version     BIGINT NOT NULL,
  mac         BYTEA  NOT NULL,
  PRIMARY KEY (account_id, id)
);

-- Append-only; every row is chained to the one before it.
CREATE TABLE audit_events (
  seq         BIGINT NOT NULL PRIMARY KEY,
  id          TEXT   NOT NULL UNIQUE,
  account_id  TEXT   NOT NULL,
  zone_id     TEXT   NOT NULL,
  time        BIGINT NOT NULL,
  severity    TEXT   NOT NULL,
  code        TEXT   NOT NULL,
  action_type TEXT   NOT NULL,
  actor_type  TEXT   NOT NULL,
  description TEXT   NOT NULL,
  user_id     TEXT   NOT NULL,
  user_name   TEXT   NOT NULL,
  app_id      TEXT   NOT NULL,
  app_name    TEXT   NOT NULL,
  node_id     TEXT   NOT NULL,
  node_name   TEXT   NOT NULL,
  details     TEXT   NOT NULL,
  objects     TEXT   NOT NULL,
  hash        BYTEA  NOT NULL,
  mac         BYTEA  NOT NULL
);
CREATE INDEX audit_events_by_account ON audit_events (account_id, seq);

-- The next event's number; its row lock puts concurrent writers in order.
CREATE TABLE audit_head (
  id    BIGINT NOT NULL PRIMARY KEY,
  count BIGINT NOT NULL
);
INSERT INTO audit_head (id, count) VALUES (1, 0);
