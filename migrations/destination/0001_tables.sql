-- The application's tables (destination `postgres`): installed, or taken over with every row they have. Each file
-- of this folder may run again at any time; all of them run in one transaction.

CREATE TABLE IF NOT EXISTS public.providers (
    id            serial PRIMARY KEY,
    provider_name text NOT NULL UNIQUE,
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS public.provider_api_keys (
    id          serial PRIMARY KEY,
    provider_id integer NOT NULL REFERENCES public.providers (id) ON DELETE CASCADE,
    key_number  integer NOT NULL,
    api_key     text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    UNIQUE (provider_id, key_number)
);

-- `publish_seq` grows by one with every write of rekeyd, and every write names the number it has read: of two
-- that write at once, one writes. 0 is a row that rekeyd has never written.
ALTER TABLE public.providers ADD COLUMN IF NOT EXISTS created_at timestamptz NOT NULL DEFAULT now();
ALTER TABLE public.provider_api_keys
    ADD COLUMN IF NOT EXISTS created_at  timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN IF NOT EXISTS is_active   boolean NOT NULL DEFAULT true,
    ADD COLUMN IF NOT EXISTS priority    integer NOT NULL DEFAULT 100,
    ADD COLUMN IF NOT EXISTS status      text NOT NULL DEFAULT 'untested',
    ADD COLUMN IF NOT EXISTS generation  bigint,
    ADD COLUMN IF NOT EXISTS publish_seq bigint NOT NULL DEFAULT 0,
    ADD COLUMN IF NOT EXISTS updated_at  timestamptz NOT NULL DEFAULT now();

-- A write is addressed by provider and number: two rows with one address would hide each other. Where there are
-- such rows already, this fails and says which, and nothing is changed.
DO $$
DECLARE
    wanted record;
BEGIN
    FOR wanted IN
        SELECT * FROM (VALUES
            ('providers', ARRAY['provider_name']),
            ('provider_api_keys', ARRAY['key_number', 'provider_id'])
        ) AS tables (name, columns)
    LOOP
        IF NOT EXISTS (
            SELECT FROM pg_index i
            WHERE i.indrelid = format('public.%I', wanted.name)::regclass
              AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indisvalid
              AND wanted.columns = (
                  SELECT array_agg(a.attname::text ORDER BY a.attname::text) FROM pg_attribute a
                  WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[])
              )
        ) THEN
            EXECUTE format('ALTER TABLE public.%I ADD UNIQUE (%s)', wanted.name, array_to_string(wanted.columns, ', '));
        END IF;
    END LOOP;
END
$$;
