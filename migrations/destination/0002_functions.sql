-- How the application reads a key. Never a dead one: each function passes over inactive and invalid keys, and
-- answers NULL when none is left. SECURITY INVOKER: whoever may not read the tables gets nothing from here
-- either. The empty search_path keeps objects of other schemas from standing in for ours.

-- One key by its number.
CREATE OR REPLACE FUNCTION public.get_api_key(p_provider_name text, p_key_number integer DEFAULT 1)
RETURNS text LANGUAGE sql STABLE SECURITY INVOKER SET search_path = ''
AS $$
    SELECT k.api_key
    FROM public.provider_api_keys k JOIN public.providers p ON p.id = k.provider_id
    WHERE p.provider_name = p_provider_name AND k.key_number = p_key_number
      AND k.is_active IS NOT FALSE AND k.status IS DISTINCT FROM 'invalid'
$$;

-- Any of those with the highest priority that has a usable key.
CREATE OR REPLACE FUNCTION public.get_random_api_key(p_provider_name text)
RETURNS text LANGUAGE sql VOLATILE SECURITY INVOKER SET search_path = ''
AS $$
    SELECT k.api_key
    FROM public.provider_api_keys k JOIN public.providers p ON p.id = k.provider_id
    WHERE p.provider_name = p_provider_name
      AND k.is_active IS NOT FALSE AND k.status IS DISTINCT FROM 'invalid'
    ORDER BY k.priority DESC NULLS LAST, random()
    LIMIT 1
$$;

-- The one with the highest priority; of several, the lowest number.
CREATE OR REPLACE FUNCTION public.get_best_api_key(p_provider_name text)
RETURNS text LANGUAGE sql STABLE SECURITY INVOKER SET search_path = ''
AS $$
    SELECT k.api_key
    FROM public.provider_api_keys k JOIN public.providers p ON p.id = k.provider_id
    WHERE p.provider_name = p_provider_name
      AND k.is_active IS NOT FALSE AND k.status IS DISTINCT FROM 'invalid'
    ORDER BY k.priority DESC NULLS LAST, k.key_number
    LIMIT 1
$$;
