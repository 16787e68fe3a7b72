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

SINCE_2_1 = ""

EXCLUDED = {
    "the suite would attach its second schema to one connection only": "independent_connections",
    "they belong to one connection, and the suite takes several from the pool": """
        temporary_tables temp_table_reflection temp_table_names has_temp_table temporary_views
        create_temp_table_as
    """,
    "there is one default schema": "default_schema_name_switch",
    "a schema is a file that is attached, not created": "schema_create_delete",
    "no arrays": "array_type",
    "no comments": """
        comment_reflection comment_reflection_full_unicode constraint_comment_reflection
        temp_table_comment_reflection
    """,
    "computed columns are virtual unless said otherwise": "computed_columns_default_persisted",
    "no CREATE OR REPLACE": "create_or_replace_view",
    "a foreign key cannot lead to another file": "cross_schema_fk_reflection",
    "no DELETE with several tables": "delete_from",
    "LIMIT only": """
        fetch_first fetch_no_order_by fetch_offset_with_options fetch_percent fetch_ties
    """,
    "no GENERATED AS IDENTITY": "identity_columns identity_columns_standard",
    "a constraint without a name stays without": "implicitly_named_constraints",
    "no INCLUDE": "index_reflects_included_columns",
    "the order of an index's columns is not reflected": "indexes_check_column_order",
    "no materialized views": "materialized_views materialized_views_reflect_pk",
    "no parentheses in UNION": """
        parens_in_union_contained_select_w_limit_offset
        parens_in_union_contained_select_wo_limit_offset
    """,
    "a table has a column": "reflect_tables_no_columns",
    "no such function": "regexp_replace",
    "no such operator": "supports_bitwise_xor",
    "no DISTINCT ON": "supports_distinct_on",
    "VALUES cannot name its columns": "table_value_constructor",
    "ranges are numbers": "window_range_non_numeric",
    "no intervals": "datetime_interval",
    "times without a zone": "datetime_timezone datetime_timezone_historic time_timezone",
    "all text is Unicode": "nvarchar_types",
    "numbers are floats": """
        precision_numerics_many_significant_digits precision_numerics_retains_significant_digits
    """,
    "stored as text": "uuid_data_type",
    "of MySQL": "foreign_keys_reflect_as_index",
    "of other databases": """
        unique_constraints_reflect_as_index unique_index_reflect_as_unique_constraints
        reflect_indexes_with_ascdesc_as_expression
    """,
    "JSON comes as text": "json_deserializer_binary",
    "it is skipped with a warning": "reflect_indexes_with_expressions",
}
"""The reasons, and what is not there for each."""

ISOLATION_LEVELS = {
    "default": "SERIALIZABLE",
    "supported": ["READ UNCOMMITTED", "SERIALIZABLE", "AUTOCOMMIT"],
}
