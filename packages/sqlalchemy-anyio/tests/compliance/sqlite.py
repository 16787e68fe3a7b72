"""What the suite may expect of SQLite in a file, and why not the rest."""

SUPPORTED = {
    "sqlite": """
        autocommit check_constraint_reflection column_collation_reflection computed_columns
        computed_columns_reflect_persisted computed_columns_stored computed_columns_virtual
        create_table_as ctes ctes_with_update_delete ctes_with_values date_historic
        datetime_historic datetime_literals dbapi_lastrowid except_
        expression_server_defaults fetch_expression
        fk_constraint_option_reflection_ondelete_noaction
        fk_constraint_option_reflection_ondelete_restrict
        fk_constraint_option_reflection_onupdate_restrict
        float_or_double_precision_behaves_generically foreign_key_constraint_name_reflection
        foreign_key_constraint_option_reflection_ondelete
        foreign_key_constraint_option_reflection_onupdate index_ddl_if_exists
        indexes_with_expressions infinity_floats inline_check_constraint_reflection
        intersect isolation_level json_type legacy_unconditional_json_extract
        percent_schema_names reflect_table_options reflects_pk_names regexp_match
        repeated_column_foreign_keys repeated_remote_col_foreign_keys savepoints
        server_defaults skip_autocommit_rollback supports_bitwise_and supports_bitwise_not
        supports_bitwise_or supports_bitwise_shift table_ddl_if_exists
        timestamp_microseconds tuple_in unicode_ddl update_from view_column_reflection views
        window_functions window_range window_range_numeric
    """,
}

EXCLUDED = {
    # what a pool of connections to a file, or the suite itself, does not allow
    "independent_connections": "the suite would attach its second schema to one connection only",
    "temporary_tables": "they belong to one connection, and the suite takes several from the pool",
    "temp_table_reflection": "see temporary_tables",
    "temp_table_names": "see temporary_tables",
    "has_temp_table": "see temporary_tables",
    "temporary_views": "see temporary_tables",
    "create_temp_table_as": "see temporary_tables",
    "default_schema_name_switch": "there is one default schema",
    "schema_create_delete": "a schema is a file that is attached, not created",
    # what SQLite's SQL does not have
    "array_type": "no arrays",
    "comment_reflection": "no comments",
    "comment_reflection_full_unicode": "no comments",
    "constraint_comment_reflection": "no comments",
    "temp_table_comment_reflection": "no comments",
    "computed_columns_default_persisted": "computed columns are virtual unless said otherwise",
    "create_or_replace_view": "no CREATE OR REPLACE",
    "cross_schema_fk_reflection": "a foreign key cannot lead to another file",
    "delete_from": "no DELETE with several tables",
    "fetch_first": "LIMIT only",
    "fetch_no_order_by": "LIMIT only",
    "fetch_offset_with_options": "LIMIT only",
    "fetch_percent": "LIMIT only",
    "fetch_ties": "LIMIT only",
    "identity_columns": "no GENERATED AS IDENTITY",
    "identity_columns_standard": "no GENERATED AS IDENTITY",
    "implicitly_named_constraints": "a constraint without a name stays without",
    "index_reflects_included_columns": "no INCLUDE",
    "indexes_check_column_order": "the order of an index's columns is not reflected",
    "materialized_views": "no materialized views",
    "materialized_views_reflect_pk": "no materialized views",
    "parens_in_union_contained_select_w_limit_offset": "no parentheses in UNION",
    "parens_in_union_contained_select_wo_limit_offset": "no parentheses in UNION",
    "reflect_tables_no_columns": "a table has a column",
    "regexp_replace": "no such function",
    "supports_bitwise_xor": "no such operator",
    "supports_distinct_on": "no DISTINCT ON",
    "table_value_constructor": "VALUES cannot name its columns",
    "window_range_non_numeric": "ranges are numbers",
    # what SQLite's types do not have
    "datetime_interval": "no intervals",
    "datetime_timezone": "times without a zone",
    "datetime_timezone_historic": "times without a zone",
    "time_timezone": "times without a zone",
    "nvarchar_types": "all text is Unicode",
    "precision_numerics_many_significant_digits": "numbers are floats",
    "precision_numerics_retains_significant_digits": "numbers are floats",
    "uuid_data_type": "stored as text",
    # what SQLAlchemy does not do for SQLite
    "foreign_keys_reflect_as_index": "of MySQL",
    "unique_constraints_reflect_as_index": "of other databases",
    "unique_index_reflect_as_unique_constraints": "of other databases",
    "json_deserializer_binary": "JSON comes as text",
    "reflect_indexes_with_ascdesc_as_expression": "of other databases",
    "reflect_indexes_with_expressions": "it is skipped with a warning",
}

ISOLATION_LEVELS = {
    "default": "SERIALIZABLE",
    "supported": ["READ UNCOMMITTED", "SERIALIZABLE", "AUTOCOMMIT"],
}
