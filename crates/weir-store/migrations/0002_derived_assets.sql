-- What Weir made out of a file (`.metadata` of a wheel) goes with the version and is no file of its own.
alter table assets add column derived boolean not null default false;

-- Where a document came from in the end, after redirects: what its relative links stand on.
alter table documents add column url text;
