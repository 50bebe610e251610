-- Who may read: the owner and `service_role`, and roles that the operator granted it to by name. Two walls before
-- `anon` and `authenticated`: row-level security without a policy for them, and no grant. The grants matter on
-- Supabase, whose default privileges hand every new table and function of `public` to both roles by name.

ALTER TABLE public.providers ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.provider_api_keys ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON TABLE public.providers, public.provider_api_keys FROM PUBLIC;
REVOKE ALL ON FUNCTION public.get_api_key(text, integer), public.get_random_api_key(text),
    public.get_best_api_key(text) FROM PUBLIC;

DO $$
DECLARE
    outsider text;
    found record;
BEGIN
    FOR outsider IN SELECT rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated') LOOP
        EXECUTE format('REVOKE ALL ON TABLE public.providers, public.provider_api_keys FROM %I', outsider);
        EXECUTE format('REVOKE ALL ON FUNCTION public.get_api_key(text, integer), '
            'public.get_random_api_key(text), public.get_best_api_key(text) FROM %I', outsider);
    END LOOP;

    -- A policy that names them keeps the other roles that it names.
    FOR found IN
        SELECT p.polname, c.relname,
            (SELECT string_agg(quote_ident(r.rolname), ', ') FROM pg_roles r
             WHERE r.oid = ANY (p.polroles) AND r.rolname NOT IN ('anon', 'authenticated')) AS others
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE c.oid IN ('public.providers'::regclass, 'public.provider_api_keys'::regclass)
          AND EXISTS (SELECT FROM pg_roles r
                      WHERE r.oid = ANY (p.polroles) AND r.rolname IN ('anon', 'authenticated'))
    LOOP
        IF found.others IS NULL THEN
            EXECUTE format('DROP POLICY %I ON public.%I', found.polname, found.relname);
        ELSE
            EXECUTE format('ALTER POLICY %I ON public.%I TO %s', found.polname, found.relname, found.others);
        END IF;
    END LOOP;

    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        IF NOT has_schema_privilege('service_role', 'public', 'USAGE') THEN
            GRANT USAGE ON SCHEMA public TO service_role;
        END IF;
        GRANT SELECT ON TABLE public.providers, public.provider_api_keys TO service_role;
        GRANT EXECUTE ON FUNCTION public.get_api_key(text, integer), public.get_random_api_key(text),
            public.get_best_api_key(text) TO service_role;
        -- Supabase's bypasses row-level security; one that does not needs a policy.
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role' AND NOT rolbypassrls) THEN
            DROP POLICY IF EXISTS rekeyd_service_role ON public.providers;
            CREATE POLICY rekeyd_service_role ON public.providers FOR SELECT TO service_role USING (true);
            DROP POLICY IF EXISTS rekeyd_service_role ON public.provider_api_keys;
            CREATE POLICY rekeyd_service_role ON public.provider_api_keys FOR SELECT TO service_role USING (true);
        END IF;
    END IF;
END
$$;

-- Supabase's REST API reads the list of functions anew.
NOTIFY pgrst, 'reload schema';
